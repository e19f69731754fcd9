//! A bounded look at a footer before it is decoded.
//!
//! The Parquet decoder trusts two numbers of a footer with an allocation before it has read what they count: the number
//! of row groups and the number of a group's children; and it recurses as deep as the schema claims to be. A hostile file
//! could so end the whole process. This walk over the Thrift compact encoding checks those claims first and allocates
//! nothing.

/// Nesting of Thrift structures; Parquet's own metadata needs about eight.
const THRIFT_DEPTH_MAX: usize = 32;
/// Nesting of columns that is still decoded.
const SCHEMA_DEPTH_MAX: usize = 200;

const STRUCT: u8 = 12;
const LIST: u8 = 9;
/// `FileMetaData.schema`.
const SCHEMA_FIELD: i16 = 2;
/// `SchemaElement.num_children`.
const CHILDREN_FIELD: i16 = 5;

/// Refuses a footer whose claims exceed its bytes. Answers with the bytes of its schema.
pub(super) fn check(footer: &[u8]) -> Result<&[u8], &'static str> {
    let mut walk = Walk { rest: footer };
    let mut schema = None;
    walk.fields(0, &mut |walk, id, kind| {
        if (id, kind) != (SCHEMA_FIELD, LIST) {
            return Ok(false);
        }
        let from = walk.rest;
        walk.schema()?;
        match schema.replace(&from[..from.len() - walk.rest.len()]) {
            None => Ok(true),
            Some(_) => Err("it has two schemas"),
        }
    })?;
    schema.ok_or("it has no schema")
}

type Seen<'v, 'a> = &'v mut dyn FnMut(&mut Walk<'a>, i16, u8) -> Result<bool, &'static str>;

struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Walks a struct's fields; `seen` may read a field itself and then answers `true`.
    fn fields(&mut self, depth: usize, seen: Seen<'_, 'a>) -> Result<(), &'static str> {
        let mut id = 0_i16;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Ok(());
            }
            let delta = i16::from(header >> 4);
            id = if delta == 0 { self.zigzag16()? } else { id.checked_add(delta).ok_or("a field number overflows")? };
            let kind = header & 0x0f;
            if !seen(self, id, kind)? {
                self.value(kind, depth + 1, true)?;
            }
        }
    }

    /// The flattened schema: each element's children must be elements that follow.
    fn schema(&mut self) -> Result<(), &'static str> {
        let (count, kind) = self.list()?;
        if kind != STRUCT {
            return Err("the schema is no list of elements");
        }
        let (mut left, mut open) = (count, Vec::new());
        for _ in 0..count {
            left -= 1;
            let mut children = 0_u64;
            self.fields(2, &mut |walk, id, kind| {
                if id != CHILDREN_FIELD || kind != 5 {
                    return Ok(false);
                }
                children = u64::try_from(zigzag(walk.varint()?)).map_err(|_| "a group has a negative number of children")?;
                Ok(true)
            })?;
            if children > left as u64 {
                return Err("a group claims more children than the schema has elements");
            }
            nest(&mut open, children)?;
        }
        Ok(())
    }

    fn value(&mut self, kind: u8, depth: usize, in_field: bool) -> Result<(), &'static str> {
        if depth > THRIFT_DEPTH_MAX {
            return Err("its structures nest too deep");
        }
        match kind {
            // A boolean field stands in its header; as an element it is a byte.
            1 | 2 if in_field => Ok(()),
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(usize::try_from(length).map_err(|_| "a text is too long")?)
            }
            LIST | 10 => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.value(kind, depth + 1, false))
            }
            11 => self.map(depth),
            STRUCT => self.fields(depth, &mut |_, _, _| Ok(false)),
            _ => Err("a field has an unknown type"),
        }
    }

    /// A list's header. Each element takes at least a byte, so a list is never longer than what follows.
    fn list(&mut self) -> Result<(usize, u8), &'static str> {
        let header = self.byte()?;
        let short = usize::from(header >> 4);
        let count = if short == 15 { usize::try_from(self.varint()?).map_err(|_| "a list is too long")? } else { short };
        if count > self.rest.len() {
            return Err("a list claims more elements than the footer has bytes");
        }
        Ok((count, header & 0x0f))
    }

    fn map(&mut self, depth: usize) -> Result<(), &'static str> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        if count > self.rest.len() as u64 {
            return Err("a map claims more entries than the footer has bytes");
        }
        let kinds = self.byte()?;
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth + 1, false)?;
            self.value(kinds & 0x0f, depth + 1, false)
        })
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.rest.split_first().ok_or("it ends too early")?;
        self.rest = rest;
        Ok(*first)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(bytes..).ok_or("it ends too early")?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long")
    }

    fn zigzag16(&mut self) -> Result<i16, &'static str> {
        i16::try_from(zigzag(self.varint()?)).map_err(|_| "a field number overflows")
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Keeps the stack of groups that are still open, each with the children that it awaits.
fn nest(open: &mut Vec<u64>, children: u64) -> Result<(), &'static str> {
    if let Some(awaited) = open.last_mut() {
        *awaited = awaited.saturating_sub(1);
    }
    if children > 0 {
        open.push(children);
    }
    while open.last() == Some(&0) {
        open.pop();
    }
    if open.len() > SCHEMA_DEPTH_MAX { Err("its columns nest too deep") } else { Ok(()) }
}
