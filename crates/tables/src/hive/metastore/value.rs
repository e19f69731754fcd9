//! [`Value`]: any Thrift value as a tree, so that what this program does not know survives being read and written.
//!
//! Maps are kept in the order of their keys, so that one state of an entry has one form and one digest, however a server
//! orders them.

use std::collections::BTreeMap;

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier,
    TOutputProtocol, TSetIdentifier, TStructIdentifier, TType,
};
use thrift::{Error, ProtocolError, ProtocolErrorKind, TConfiguration};

/// Bytes that one text of an answer may have.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Elements that one list or map of an answer may have. Columns and parameters are far fewer, partitions may be that many.
const ELEMENTS_MAX: usize = 2_000_000;
/// How deep values may lie in each other.
const DEPTH_MAX: usize = 24;

/// The fields of a struct by their numbers.
pub(super) type Fields = BTreeMap<i16, Value>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    /// By its bits.
    Double(u64),
    Text(Vec<u8>),
    Struct(Fields),
    /// In the order of the keys' bytes.
    Map(TType, TType, Vec<(Value, Value)>),
    Set(TType, Vec<Value>),
    List(TType, Vec<Value>),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// A map from text to text.
    pub fn texts<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entries: BTreeMap<&str, &str> = entries.into_iter().collect();
        let entries = entries.into_iter().map(|(key, value)| (Self::text(key), Self::text(value)));
        Self::Map(TType::String, TType::String, entries.collect())
    }

    /// A struct.
    pub fn fields(fields: impl IntoIterator<Item = (i16, Self)>) -> Self {
        Self::Struct(fields.into_iter().collect())
    }

    /// The text that it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The fields of the struct that it is.
    pub fn as_fields(&self) -> Option<&Fields> {
        match self {
            Self::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// The bytes of the binary protocol, the same for equal values.
    pub fn to_bytes(&self) -> thrift::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut TBinaryOutputProtocol::new(&mut bytes, true))?;
        Ok(bytes)
    }

    /// The struct that [`Self::to_bytes`] has written.
    pub fn struct_of(bytes: &[u8]) -> thrift::Result<Self> {
        Self::read(&mut TBinaryInputProtocol::with_config(bytes, true, limits()?), TType::Struct)
    }

    fn kind(&self) -> TType {
        match self {
            Self::Bool(_) => TType::Bool,
            Self::I8(_) => TType::I08,
            Self::I16(_) => TType::I16,
            Self::I32(_) => TType::I32,
            Self::I64(_) => TType::I64,
            Self::Double(_) => TType::Double,
            Self::Text(_) => TType::String,
            Self::Struct(_) => TType::Struct,
            Self::Map(..) => TType::Map,
            Self::Set(..) => TType::Set,
            Self::List(..) => TType::List,
        }
    }

    /// Reads one value of a type, within the bounds of [`limits`].
    pub fn read(input: &mut dyn TInputProtocol, kind: TType) -> thrift::Result<Self> {
        Ok(match kind {
            TType::Bool => Self::Bool(input.read_bool()?),
            TType::I08 => Self::I8(input.read_i8()?),
            TType::I16 => Self::I16(input.read_i16()?),
            TType::I32 => Self::I32(input.read_i32()?),
            TType::I64 => Self::I64(input.read_i64()?),
            TType::Double => Self::Double(input.read_double()?.to_bits()),
            TType::String => Self::Text(input.read_bytes()?),
            TType::Struct => Self::Struct(read_fields(input)?),
            TType::List => {
                let list = input.read_list_begin()?;
                Self::List(list.element_type, read_elements(input, list.element_type, list.size)?)
            }
            TType::Set => {
                let set = input.read_set_begin()?;
                Self::Set(set.element_type, read_elements(input, set.element_type, set.size)?)
            }
            TType::Map => read_map(input)?,
            other => return Err(malformed(format!("a value of type {other}"))),
        })
    }

    /// Writes it without the type, which stands before it.
    pub fn write(&self, output: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        match self {
            Self::Bool(value) => output.write_bool(*value),
            Self::I8(value) => output.write_i8(*value),
            Self::I16(value) => output.write_i16(*value),
            Self::I32(value) => output.write_i32(*value),
            Self::I64(value) => output.write_i64(*value),
            Self::Double(bits) => output.write_double(f64::from_bits(*bits)),
            Self::Text(bytes) => output.write_bytes(bytes),
            Self::Struct(fields) => {
                output.write_struct_begin(&TStructIdentifier::new(""))?;
                for (number, value) in fields {
                    output.write_field_begin(&TFieldIdentifier::new("", value.kind(), *number))?;
                    value.write(output)?;
                }
                output.write_field_stop()
            }
            Self::Map(keys, values, entries) => {
                output.write_map_begin(&TMapIdentifier::new(*keys, *values, size(entries.len())?))?;
                entries.iter().try_for_each(|(key, value)| key.write(output).and_then(|()| value.write(output)))
            }
            Self::Set(kind, elements) => {
                output.write_set_begin(&TSetIdentifier::new(*kind, size(elements.len())?))?;
                elements.iter().try_for_each(|element| element.write(output))
            }
            Self::List(kind, elements) => {
                output.write_list_begin(&TListIdentifier::new(*kind, size(elements.len())?))?;
                elements.iter().try_for_each(|element| element.write(output))
            }
        }
    }
}

/// What an answer may claim before it is refused.
pub(super) fn limits() -> thrift::Result<TConfiguration> {
    TConfiguration::builder()
        .max_string_size(Some(TEXT_BYTES_MAX))
        .max_container_size(Some(ELEMENTS_MAX))
        .max_recursion_depth(Some(DEPTH_MAX))
        .build()
}

fn read_fields(input: &mut dyn TInputProtocol) -> thrift::Result<Fields> {
    let mut fields = Fields::new();
    input.read_struct_begin()?;
    loop {
        let field = input.read_field_begin()?;
        if field.field_type == TType::Stop {
            break;
        }
        let number = field.id.ok_or_else(|| malformed("a field without a number".to_owned()))?;
        if fields.insert(number, Value::read(input, field.field_type)?).is_some() {
            return Err(malformed(format!("field {number} twice in one struct")));
        }
    }
    input.read_struct_end()?;
    Ok(fields)
}

fn read_elements(input: &mut dyn TInputProtocol, kind: TType, size: i32) -> thrift::Result<Vec<Value>> {
    // Grows by what has come, not by what was claimed.
    (0..size).map(|_| Value::read(input, kind)).collect::<thrift::Result<Vec<_>>>()
}

fn read_map(input: &mut dyn TInputProtocol) -> thrift::Result<Value> {
    let map = input.read_map_begin()?;
    // An empty map may come without types.
    let (keys, values) = (map.key_type.unwrap_or(TType::String), map.value_type.unwrap_or(TType::String));
    let mut entries = Vec::new();
    for _ in 0..map.size {
        let key = Value::read(input, keys)?;
        let sorted_by = key.to_bytes()?;
        entries.push((sorted_by, key, Value::read(input, values)?));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(malformed("a map with one key twice".to_owned()));
    }
    Ok(Value::Map(keys, values, entries.into_iter().map(|(_, key, value)| (key, value)).collect()))
}

fn size(length: usize) -> thrift::Result<i32> {
    i32::try_from(length).map_err(|_| malformed(format!("{length} elements")))
}

fn malformed(what: String) -> Error {
    Error::Protocol(ProtocolError::new(ProtocolErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Value {
        let parameters = Value::texts([("b", "2"), ("a", "1"), ("é", "")]);
        let list = Value::List(TType::Struct, vec![Value::fields([(1, Value::text("x"))]), Value::fields([])]);
        let set = Value::Set(TType::I64, vec![Value::I64(-1)]);
        let scalars = [Value::Bool(true), Value::I8(-1), Value::I16(2), Value::I32(3), Value::Double(f64::NAN.to_bits())];
        let scalars = (1..).zip(scalars);
        Value::fields(scalars.chain([(9, parameters), (200, list), (-3, set)]))
    }

    #[test]
    fn a_value_that_is_written_is_read_as_it_was() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(Value::struct_of(&bytes).unwrap(), sample());
    }

    #[test]
    fn the_order_in_which_a_server_sends_a_map_does_not_count() {
        let entry = |key: &str| (Value::text(key), Value::text("v"));
        let map = |keys: [&str; 2]| Value::fields([(1, Value::Map(TType::String, TType::String, keys.map(entry).to_vec()))]);
        let [one, other] = [map(["a", "b"]), map(["b", "a"])].map(|map| map.to_bytes().unwrap());
        assert_ne!(one, other);
        assert_eq!(Value::struct_of(&one).unwrap(), Value::struct_of(&other).unwrap());
    }

    #[test]
    fn an_answer_that_claims_too_much_is_refused_before_it_is_held() {
        let text = [11, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        let list = [15, 0, 1, 12, 0x7f, 0xff, 0xff, 0xff];
        let map = [13, 0, 1, 11, 11, 0x7f, 0xff, 0xff, 0xff];
        let deep = [12, 0, 1].repeat(1000);
        for bytes in [&text[..], &list, &map, &deep] {
            let error = format!("{:?}", Value::struct_of(bytes).unwrap_err());
            assert!(error.contains("exceed"), "{error}");
        }
        let twice = [2, 0, 1, 1, 2, 0, 1, 1, 0];
        assert!(format!("{:?}", Value::struct_of(&twice).unwrap_err()).contains("twice"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Value::struct_of(&bytes);
        }

        #[test]
        fn no_cut_or_changed_byte_makes_the_reader_panic(at in 0_usize..100, byte: u8) {
            let mut bytes = sample().to_bytes().unwrap();
            let at = at % bytes.len();
            let _ = Value::struct_of(&bytes[..at]);
            bytes[at] = byte;
            let _ = Value::struct_of(&bytes);
        }
    }
}
