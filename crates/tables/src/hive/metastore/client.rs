//! [`Client`]: the few calls of the Metastore's Thrift service that a pointer needs, over plain TCP and the binary protocol.
//!
//! Every call is a connection of its own, with timeouts and a bound on the bytes of the answer. Blocking: call it where
//! blocking is allowed. SASL (Kerberos), TLS and framed transports are not spoken.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TInputProtocol, TMessageIdentifier, TMessageType, TOutputProtocol, TType,
};

use super::error::MetastoreError;
use super::value::{Fields, Value, limits};

/// How long a server may take to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long it may be silent in the middle of a call.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes that an answer may have: the names of a million partitions.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// Characters of a server's message that an error repeats.
const MESSAGE_CHARS_MAX: usize = 300;

/// `LockType.EXCLUSIVE` of the service.
const EXCLUSIVE: i32 = 3;
/// `LockLevel.TABLE`.
const OF_TABLE: i32 = 2;
/// `DataOperationType.NO_TXN`.
const NO_TRANSACTION: i32 = 6;
/// `LockState.ACQUIRED`.
const ACQUIRED: i32 = 1;

/// The name of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub database: String,
    pub table: String,
}

/// What a server has answered to a call.
enum Answer {
    Result(Value),
    /// By the number of the exception in the call's declaration, with its message.
    Refused(i16, String),
}

/// A Metastore.
#[derive(Debug, Clone)]
pub(super) struct Client {
    host: String,
    port: u16,
    agent: String,
}

impl Client {
    /// The service at `host:port`; `agent` names us in the list of its locks.
    pub fn new(host: &str, port: u16, agent: &str) -> Self {
        Self { host: host.to_owned(), port, agent: agent.to_owned() }
    }

    /// Its address, as the spec has it.
    pub fn address(&self) -> String {
        format!("thrift://{}:{}", self.host, self.port)
    }

    /// An entry as it is; `None` when there is none of that name.
    pub fn table(&self, name: &Name) -> Result<Option<Value>, MetastoreError> {
        let arguments = [(1, Value::text(&name.database)), (2, Value::text(&name.table))];
        match self.call("get_table", arguments)? {
            Answer::Result(table) => Ok(Some(table)),
            Answer::Refused(2, _) => Ok(None),
            refused => Err(self.refusal("get_table", refused)),
        }
    }

    /// Replaces an entry. The server counts no files for it.
    pub fn alter(&self, name: &Name, table: Value) -> Result<(), MetastoreError> {
        let arguments = [
            (1, Value::text(&name.database)),
            (2, Value::text(&name.table)),
            (3, table),
            (4, Value::fields([(1, Value::texts([("DO_NOT_UPDATE_STATS", "true")]))])),
        ];
        self.done("alter_table_with_environment_context", arguments)
    }

    /// Makes an entry, whose name is in it.
    pub fn create(&self, table: Value) -> Result<(), MetastoreError> {
        let context = Value::fields([(1, Value::texts([("DO_NOT_UPDATE_STATS", "true")]))]);
        self.done("create_table_with_environment_context", [(1, table), (2, context)])
    }

    /// Takes an entry out, and leaves the files where they are. One that is gone is no error.
    pub fn forget(&self, name: &Name) -> Result<(), MetastoreError> {
        let arguments = [(1, Value::text(&name.database)), (2, Value::text(&name.table)), (3, Value::Bool(false))];
        match self.call("drop_table", arguments)? {
            Answer::Result(_) | Answer::Refused(1, _) => Ok(()),
            refused => Err(self.refusal("drop_table", refused)),
        }
    }

    /// The names of an entry's partitions, as folders are named.
    pub fn partition_names(&self, name: &Name) -> Result<BTreeSet<String>, MetastoreError> {
        let call = "get_partition_names";
        let arguments = [(1, Value::text(&name.database)), (2, Value::text(&name.table)), (3, Value::I16(-1))];
        match self.call(call, arguments)? {
            Answer::Result(Value::List(_, names)) => {
                Ok(names.iter().filter_map(|name| name.as_text().map(str::to_owned)).collect())
            }
            Answer::Result(_) => Err(self.nonsense(call, "no list".to_owned())),
            refused => Err(self.refusal(call, refused)),
        }
    }

    /// Adds partitions to an entry; those that it has stay as they are.
    pub fn add_partitions(&self, name: &Name, partitions: Vec<Value>) -> Result<(), MetastoreError> {
        let request = Value::fields([
            (1, Value::text(&name.database)),
            (2, Value::text(&name.table)),
            (3, Value::List(TType::Struct, partitions)),
            (4, Value::Bool(true)),
            (5, Value::Bool(false)),
        ]);
        self.done("add_partitions_req", [(1, request)])
    }

    /// The number of a lock on an entry that nobody else holds; `None` when somebody does. It ends by itself after the
    /// server's `hive.txn.timeout`.
    pub fn lock(&self, name: &Name) -> Result<Option<i64>, MetastoreError> {
        let component = Value::fields([
            (1, Value::I32(EXCLUSIVE)),
            (2, Value::I32(OF_TABLE)),
            (3, Value::text(&name.database)),
            (4, Value::text(&name.table)),
            (6, Value::I32(NO_TRANSACTION)),
        ]);
        let request = Value::fields([
            (1, Value::List(TType::Struct, vec![component])),
            (3, Value::text("lakeshift")),
            (4, Value::text("lakeshift")),
            (5, Value::text(&self.agent)),
        ]);
        let answer = match self.call("lock", [(1, request)])? {
            Answer::Result(answer) => answer,
            refused => return Err(self.refusal("lock", refused)),
        };
        let fields = answer.as_fields();
        match fields.and_then(|fields| Some((fields.get(&1)?, fields.get(&2)?))) {
            Some((Value::I64(number), Value::I32(ACQUIRED))) => Ok(Some(*number)),
            Some((Value::I64(number), _)) => {
                // Not waited for: a place in the queue would outlive us.
                self.unlock(*number)?;
                Ok(None)
            }
            _ => Err(self.nonsense("lock", "a lock without a number".to_owned())),
        }
    }

    /// Whether a lock of ours still holds; makes it hold longer.
    pub fn holds(&self, lock: i64) -> Result<bool, MetastoreError> {
        let request = Value::fields([(1, Value::I64(lock))]);
        match self.call("heartbeat", [(1, request)])? {
            Answer::Result(_) => Ok(true),
            Answer::Refused(1, _) => Ok(false),
            refused => Err(self.refusal("heartbeat", refused)),
        }
    }

    /// Gives a lock back. One that has ended is no error.
    pub fn unlock(&self, lock: i64) -> Result<(), MetastoreError> {
        match self.call("unlock", [(1, Value::fields([(1, Value::I64(lock))]))])? {
            Answer::Result(_) | Answer::Refused(1, _) => Ok(()),
            refused => Err(self.refusal("unlock", refused)),
        }
    }

    fn done(&self, call: &'static str, arguments: impl IntoIterator<Item = (i16, Value)>) -> Result<(), MetastoreError> {
        match self.call(call, arguments)? {
            Answer::Result(_) => Ok(()),
            refused => Err(self.refusal(call, refused)),
        }
    }

    fn call(&self, call: &'static str, arguments: impl IntoIterator<Item = (i16, Value)>) -> Result<Answer, MetastoreError> {
        let unreachable = |source| MetastoreError::Unreachable { address: self.address(), call, source };
        let mut stream = self.connect().map_err(unreachable)?;
        let mut request = Vec::new();
        self.write(&mut request, call, Value::fields(arguments)).map_err(|error| self.nonsense(call, error.to_string()))?;
        stream.write_all(&request).map_err(unreachable)?;
        let input = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        match self.read(input, call) {
            Err(thrift::Error::Transport(error)) => Err(unreachable(std::io::Error::other(error.message))),
            // The library's own text of it leaves the message out.
            Err(thrift::Error::Protocol(error)) => Err(self.nonsense(call, error.message)),
            Err(error) => Err(self.nonsense(call, error.to_string())),
            Ok(result) => self.answer(call, result),
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::other("the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_MAX) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(SILENCE_MAX))?;
                    stream.set_write_timeout(Some(SILENCE_MAX))?;
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn write(&self, request: &mut Vec<u8>, call: &str, arguments: Value) -> thrift::Result<()> {
        let mut output = TBinaryOutputProtocol::new(request, true);
        output.write_message_begin(&TMessageIdentifier::new(call, TMessageType::Call, 1))?;
        arguments.write(&mut output)?;
        output.write_message_end()
    }

    fn read(&self, input: impl Read, call: &str) -> thrift::Result<Fields> {
        let mut input = TBinaryInputProtocol::with_config(input, true, limits()?);
        let message = input.read_message_begin()?;
        let invalid = |what: &str| {
            let kind = thrift::ProtocolErrorKind::InvalidData;
            thrift::Error::Protocol(thrift::ProtocolError::new(kind, what))
        };
        if message.message_type == TMessageType::Exception {
            let text = match Value::read(&mut input, TType::Struct)? {
                Value::Struct(fields) => fields.get(&1).and_then(Value::as_text).map(shortened).unwrap_or_default(),
                _ => String::new(),
            };
            return Err(invalid(&format!("the server failed at the call: {text}")));
        }
        if message.message_type != TMessageType::Reply || message.name != call {
            return Err(invalid("an answer to another call"));
        }
        match Value::read(&mut input, TType::Struct)? {
            Value::Struct(fields) => Ok(fields),
            _ => Err(invalid("no struct")),
        }
    }

    /// The value of a call, or its exception; a call without a value answers with an empty struct.
    fn answer(&self, call: &'static str, mut result: Fields) -> Result<Answer, MetastoreError> {
        match result.pop_first() {
            None => Ok(Answer::Result(Value::fields([]))),
            Some((0, value)) => Ok(Answer::Result(value)),
            Some((number, Value::Struct(exception))) => {
                let message = exception.get(&1).and_then(Value::as_text).map(shortened).unwrap_or_default();
                Ok(Answer::Refused(number, message))
            }
            Some(_) => Err(self.nonsense(call, "an exception that is no struct".to_owned())),
        }
    }

    fn refusal(&self, call: &'static str, answer: Answer) -> MetastoreError {
        match answer {
            Answer::Refused(_, message) => MetastoreError::Refused { address: self.address(), call, message },
            Answer::Result(_) => self.nonsense(call, "a value where none was asked for".to_owned()),
        }
    }

    fn nonsense(&self, call: &'static str, reason: String) -> MetastoreError {
        MetastoreError::Nonsense { address: self.address(), call, reason }
    }
}

/// The first line of a server's message, without what may be hundreds of lines of its stack.
fn shortened(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect()
}
