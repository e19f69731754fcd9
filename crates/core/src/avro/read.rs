//! Values from bytes.

use super::{AvroError, Schema};

/// The first bytes of a container file.
const MAGIC: &[u8] = b"Obj\x01";
/// Between a container's blocks, in bytes.
const SYNC_BYTES: usize = 16;
/// Values that take no bytes (null, empty records) are bounded by this, and by the input's size.
const EMPTY_VALUES_MAX: usize = 1 << 20;

/// A value; texts and bytes are the input's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Null, also of a union with null.
    Null,
    /// True or false.
    Boolean(bool),
    /// Of an int.
    Int(i32),
    /// Of a long.
    Long(i64),
    /// Of a float.
    Float(f32),
    /// Of a double.
    Double(f64),
    /// Of bytes or of a fixed.
    Bytes(&'a [u8]),
    /// Text, also an enum's symbol.
    String(&'a str),
    /// An enum's symbol, by its position.
    Symbol(usize),
    /// An array's elements.
    Array(Vec<Value<'a>>),
    /// A map's pairs, in the order in which they stand.
    Map(Vec<(&'a str, Value<'a>)>),
    /// A record's members, in the schema's order.
    Record(Vec<Value<'a>>),
    /// Of a union that is not one type beside null: the branch's position and its value.
    Union(usize, Box<Value<'a>>),
}

/// The value of `schema` that is all of `bytes`.
///
/// # Errors
/// [`AvroError::Bytes`], also where bytes are left over.
pub fn decode<'a>(schema: &Schema, bytes: &'a [u8]) -> Result<Value<'a>, AvroError> {
    match decode_prefix(schema, bytes)? {
        (value, []) => Ok(value),
        _ => Err(AvroError::Bytes("bytes are left over")),
    }
}

/// The value of `schema` that `bytes` begin with, and the rest.
///
/// # Errors
/// [`AvroError::Bytes`].
pub fn decode_prefix<'a>(schema: &Schema, bytes: &'a [u8]) -> Result<(Value<'a>, &'a [u8]), AvroError> {
    let mut input = Input { bytes, values_left: bytes.len().saturating_add(EMPTY_VALUES_MAX) };
    let value = input.value(schema)?;
    Ok((value, input.bytes))
}

/// The schema and the values of a container file without compression.
///
/// # Errors
/// [`AvroError`].
pub fn container(bytes: &[u8]) -> Result<(Schema, Vec<Value<'_>>), AvroError> {
    let truncated = AvroError::Bytes("it is no container file, or was cut short");
    let rest = bytes.strip_prefix(MAGIC).ok_or(truncated)?;
    let (meta, rest) = decode_prefix(&Schema::Map(Box::new(Schema::Bytes)), rest)?;
    let entry = |key: &str| match &meta {
        Value::Map(pairs) => pairs.iter().find_map(|(name, value)| match value {
            Value::Bytes(bytes) if *name == key => Some(*bytes),
            _ => None,
        }),
        _ => None,
    };
    match entry("avro.codec") {
        None | Some(b"null") => {}
        Some(other) => return Err(AvroError::Codec(String::from_utf8_lossy(other).into_owned())),
    }
    let schema = entry("avro.schema").and_then(|bytes| std::str::from_utf8(bytes).ok());
    let schema = Schema::parse(schema.ok_or(AvroError::Bytes("it has no schema"))?)?;
    let mut input = Input { bytes: rest, values_left: bytes.len().saturating_add(EMPTY_VALUES_MAX) };
    let sync = input.take(SYNC_BYTES)?;
    let mut values = Vec::new();
    while !input.bytes.is_empty() {
        let count = input.long()?;
        let length = input.length()?;
        let block = input.take(length)?;
        let mut inner = Input { bytes: block, values_left: input.values_left };
        for _ in 0..count {
            values.push(inner.value(&schema)?);
        }
        input.values_left = inner.values_left;
        if !inner.bytes.is_empty() || input.take(SYNC_BYTES)? != sync {
            return Err(AvroError::Bytes("a block does not end where it says"));
        }
    }
    Ok((schema, values))
}

/// The value as JSON: records as objects, bytes as hexadecimal text.
pub fn json(schema: &Schema, value: &Value<'_>) -> serde_json::Value {
    use serde_json::Value as Json;
    match (schema, value) {
        (Schema::Logical(plain, _), value) => json(plain, value),
        (Schema::Union(branches), Value::Union(branch, value)) => {
            branches.get(*branch).map_or(Json::Null, |schema| json(schema, value))
        }
        (_, Value::Null) => Json::Null,
        (Schema::Union(_), value) => schema.nullable().map_or(Json::Null, |schema| json(schema, value)),
        (Schema::Record(fields), Value::Record(values)) => {
            fields.iter().zip(values).map(|((name, schema), value)| (name.clone(), json(schema, value))).collect()
        }
        (Schema::Map(inner), Value::Map(pairs)) => {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), json(inner, value))).collect()
        }
        (Schema::Array(inner), Value::Array(values)) => values.iter().map(|value| json(inner, value)).collect(),
        (Schema::Enum(symbols), Value::Symbol(index)) => symbols.get(*index).map_or(Json::Null, |text| text.as_str().into()),
        (_, Value::Boolean(value)) => (*value).into(),
        (_, Value::Int(value)) => (*value).into(),
        (_, Value::Long(value)) => (*value).into(),
        (_, Value::Float(value)) => (*value).into(),
        (_, Value::Double(value)) => (*value).into(),
        (_, Value::String(text)) => (*text).into(),
        (_, Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        _ => Json::Null,
    }
}

/// What is left to read.
struct Input<'a> {
    bytes: &'a [u8],
    values_left: usize,
}

const ENDS: AvroError = AvroError::Bytes("they end too early");

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AvroError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(ENDS)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], AvroError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(ENDS)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// A zigzag number of variable length.
    fn long(&mut self) -> Result<i64, AvroError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(AvroError::Bytes("a number is longer than 64 bits"))
    }

    fn length(&mut self) -> Result<usize, AvroError> {
        usize::try_from(self.long()?).map_err(|_| AvroError::Bytes("a length is negative"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, AvroError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroError::Bytes("a text is not UTF-8"))
    }

    /// The count of the next block of an array or map; 0 at its end.
    fn block(&mut self) -> Result<u64, AvroError> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes, which only a reader that skips needs.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn value(&mut self, schema: &Schema) -> Result<Value<'a>, AvroError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(AvroError::Bytes("they claim more values than fit"))?;
        Ok(match schema {
            Schema::Null => Value::Null,
            Schema::Boolean => match self.fixed()? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                _ => return Err(AvroError::Bytes("a boolean is neither 0 nor 1")),
            },
            Schema::Int => {
                Value::Int(i32::try_from(self.long()?).map_err(|_| AvroError::Bytes("an int is longer than 32 bits"))?)
            }
            Schema::Long => Value::Long(self.long()?),
            Schema::Float => Value::Float(f32::from_le_bytes(self.fixed()?)),
            Schema::Double => Value::Double(f64::from_le_bytes(self.fixed()?)),
            Schema::Bytes => Value::Bytes(self.bytes()?),
            Schema::String => Value::String(self.text()?),
            Schema::Fixed(length) => Value::Bytes(self.take(*length)?),
            Schema::Enum(symbols) => {
                let index = self.length()?;
                if index >= symbols.len() {
                    return Err(AvroError::Bytes("an enum has no such symbol"));
                }
                Value::Symbol(index)
            }
            Schema::Array(inner) => Value::Array(self.repeated(|input| input.value(inner))?),
            Schema::Map(inner) => Value::Map(self.repeated(|input| Ok((input.text()?, input.value(inner)?)))?),
            Schema::Union(branches) => {
                let index = self.length()?;
                let branch = branches.get(index).ok_or(AvroError::Bytes("a union has no such branch"))?;
                let value = self.value(branch)?;
                if schema.nullable().is_some() { value } else { Value::Union(index, Box::new(value)) }
            }
            Schema::Record(fields) => {
                Value::Record(fields.iter().map(|(_, field)| self.value(field)).collect::<Result<_, _>>()?)
            }
            Schema::Logical(plain, _) => self.value(plain)?,
        })
    }

    fn repeated<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, AvroError>) -> Result<Vec<T>, AvroError> {
        let mut all = Vec::new();
        loop {
            match self.block()? {
                0 => return Ok(all),
                count => {
                    for _ in 0..count {
                        all.push(one(self)?);
                    }
                }
            }
        }
    }
}
