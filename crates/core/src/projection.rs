//! [`Projection`]: the spec's `target.columns` and `target.drop` settled against the columns that there are.
//!
//! It is the last step of the spec's logic, after `transform.sql`, and the engine applies it to the rows that move and to the
//! old side of a validation alike. Every refusal is found here, from schemas alone, before a row is read; what only a value
//! can tell (that it does not fit a type) is an error of the row.

use std::collections::BTreeSet;

use crate::schema::{DataType, Field, TableSchema};
use crate::spec::{Literal, TargetColumn};

/// What the spec says; empty where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProjectionSpec<'a> {
    /// `target.columns`.
    pub columns: &'a [TargetColumn],
    /// `target.drop`.
    pub drop: &'a [String],
}

impl ProjectionSpec<'_> {
    /// Whether columns stay as they are.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.drop.is_empty()
    }
}

/// One column of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected {
    /// Its name.
    pub name: String,
    /// The input's column that it is made from; `None` for a constant.
    pub from: Option<String>,
    /// Its type.
    pub data_type: DataType,
    /// Whether that is another type than the input's column has.
    pub is_cast: bool,
    /// The value in place of NULL, or in every row.
    pub default: Option<Literal>,
}

impl Projected {
    /// What becomes of the column, in words; `None` where it stays as it is.
    pub fn change(&self) -> Option<String> {
        let mut parts = Vec::new();
        match &self.from {
            Some(from) if *from != self.name => parts.push(format!("from {from}")),
            Some(_) => {}
            None => parts.push(format!("new, {}", self.data_type)),
        }
        if self.is_cast {
            parts.push(format!("cast to {}, exactly or not at all", self.data_type));
        }
        match (&self.default, &self.from) {
            (Some(default), Some(_)) => parts.push(format!("{default} in place of NULL")),
            (Some(default), None) => parts.push(format!("{default} in every row")),
            (None, _) => {}
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The result's columns, and the ones that are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Projection {
    /// In the result's order.
    pub columns: Vec<Projected>,
    /// The input's columns that the result does not have, in their order.
    pub dropped: Vec<String>,
}

impl Projection {
    /// Settles `spec` against the input's columns.
    ///
    /// # Errors
    /// Every reason why it cannot be done, not only the first.
    pub fn settle(spec: ProjectionSpec<'_>, input: &TableSchema) -> Result<Self, Vec<String>> {
        let rest = [TargetColumn::named(crate::spec::REST)];
        let entries = if spec.columns.is_empty() { &rest[..] } else { spec.columns };
        let mut settling = Settling { input, drop: spec.drop, refused: Vec::new(), used: BTreeSet::new() };
        for entry in entries.iter().filter(|entry| !entry.is_rest()) {
            settling.used.extend(settling.source_of(entry));
        }
        let mut columns = Vec::new();
        for entry in entries {
            match entry.is_rest() {
                true => columns.extend(settling.rest()),
                false => columns.extend(settling.one(entry)),
            }
        }
        settling.check_names(&columns);
        settling.check_drop();
        if !entries.iter().any(TargetColumn::is_rest) {
            settling.check_left_over();
        }
        match settling.refused.is_empty() {
            true => Ok(Self { columns, dropped: settling.dropped() }),
            false => Err(settling.refused),
        }
    }

    /// Why rows do not pass as they are, by the first column that changes; `None` where only the order may be another.
    pub fn change(&self) -> Option<String> {
        let changed = self.columns.iter().find_map(|column| Some((column, column.change()?)));
        let changed = changed.map(|(column, change)| format!("target.columns makes {} {change}", column.name));
        changed.or_else(|| Some(format!("target.drop leaves {} out", self.dropped.first()?)))
    }
}

struct Settling<'a> {
    input: &'a TableSchema,
    drop: &'a [String],
    refused: Vec<String>,
    /// The input's columns that the list names.
    used: BTreeSet<&'a str>,
}

impl<'a> Settling<'a> {
    fn source_of(&self, entry: &TargetColumn) -> Option<&'a str> {
        let name = entry.from.as_deref().unwrap_or(&entry.name);
        self.input.field(name).map(|field| field.name.as_str())
    }

    fn is_dropped(&self, name: &str) -> bool {
        self.drop.iter().any(|dropped| dropped == name)
    }

    /// The columns that `'*'` stands for.
    fn rest(&self) -> Vec<Projected> {
        let others = self.input.fields.iter();
        let others = others.filter(|field| !self.used.contains(field.name.as_str()) && !self.is_dropped(&field.name));
        let as_it_is = |field: &Field| Projected {
            name: field.name.clone(),
            from: Some(field.name.clone()),
            data_type: field.data_type.clone(),
            is_cast: false,
            default: None,
        };
        others.map(as_it_is).collect()
    }

    fn one(&mut self, entry: &TargetColumn) -> Option<Projected> {
        let (name, from) = (&entry.name, self.source_of(entry).map(str::to_owned));
        let Some(own) = from.as_ref().and_then(|from| self.input.field(from)).map(|field| field.data_type.clone()) else {
            return self.constant(entry);
        };
        let wanted = entry.data_type.clone().unwrap_or_else(|| own.clone());
        if !is_castable(&own, &wanted) {
            self.refused.push(format!(
                "target.columns: {name} is {own} and cannot be made {wanted} without loss; compute it in transform.sql"
            ));
            return None;
        }
        if let Some(default) = &entry.default
            && !fits(default, &wanted)
        {
            self.refused.push(format!("target.columns: the default of {name} is no {wanted}"));
            return None;
        }
        let is_cast = own != wanted;
        Some(Projected { name: name.clone(), from, data_type: wanted, is_cast, default: entry.default.clone() })
    }

    /// A column that the input does not have.
    fn constant(&mut self, entry: &TargetColumn) -> Option<Projected> {
        let (name, from) = (&entry.name, entry.from.as_deref().unwrap_or(&entry.name));
        let Some(default) = &entry.default else {
            let known = self.input.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            self.refused.push(format!(
                "target.columns: {name} is made from {from}, which is no column (there are {known}); correct the name, or give a \
                 default"
            ));
            return None;
        };
        let wanted = entry.data_type.clone().unwrap_or_else(|| default.data_type());
        if !fits(default, &wanted) {
            self.refused.push(format!("target.columns: the default of {name} is no {wanted}"));
            return None;
        }
        let default = Some(default.clone());
        Some(Projected { name: name.clone(), from: None, data_type: wanted, is_cast: false, default })
    }

    fn check_names(&mut self, columns: &[Projected]) {
        let mut seen = BTreeSet::new();
        let twice = columns.iter().filter(|column| !seen.insert(column.name.as_str()));
        self.refused.extend(twice.map(|column| format!("target.columns: two columns are named {}", column.name)));
    }

    fn check_drop(&mut self) {
        for name in self.drop {
            if self.used.contains(name.as_str()) {
                self.refused
                    .push(format!("target.drop: {name} is made into a column by target.columns; name it in one of them"));
            } else if self.input.field(name).is_none() {
                self.refused.push(format!("target.drop: {name} is no column"));
            }
        }
    }

    fn check_left_over(&mut self) {
        let left = self.input.fields.iter().map(|field| &field.name);
        let left = left.filter(|name| !self.used.contains(name.as_str()) && !self.is_dropped(name));
        let told = left.map(|name| {
            format!("target.columns has no place for {name}: name it there or under target.drop, or add '*' for all others")
        });
        let told: Vec<String> = told.collect();
        self.refused.extend(told);
    }

    fn dropped(&self) -> Vec<String> {
        let names = self.input.fields.iter().map(|field| field.name.clone());
        names.filter(|name| self.is_dropped(name)).collect()
    }
}

/// Whether every value of `from` that `to` holds exactly can be told by casting it there and back. Nested types, instants to
/// readings of a clock and bytes to anything but text are left to `transform.sql`, where people say what they mean.
pub fn is_castable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let wall_clock = |data_type: &T| matches!(data_type, T::Timestamp { utc: false, .. });
    match (from, to) {
        (from, to) if from == to => true,
        (from, to) if is_number(from) && is_number(to) => true,
        (T::String, to) => is_number(to) || matches!(to, T::Boolean | T::Date | T::Binary),
        (from, T::String) => is_number(from) || matches!(from, T::Boolean | T::Date | T::Binary),
        (T::Fixed { .. }, T::Binary) => true,
        (T::Date, to) => wall_clock(to),
        (from, T::Date) => wall_clock(from),
        (T::Timestamp { utc: a, .. }, T::Timestamp { utc: b, .. }) => a == b,
        (T::Time { .. }, T::Time { .. }) => true,
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::UInt8
            | T::UInt16
            | T::UInt32
            | T::UInt64
            | T::Float32
            | T::Float64
            | T::Decimal { .. }
    )
}

/// Whether a constant may stand in a column of the type; that its value fits is the engine's to try.
fn fits(literal: &Literal, data_type: &DataType) -> bool {
    let text_of_a_time = matches!((literal, data_type), (Literal::Text(_), DataType::Timestamp { .. }));
    text_of_a_time || is_castable(&literal.data_type(), data_type)
}

#[cfg(test)]
mod tests;
