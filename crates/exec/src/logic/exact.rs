//! A cast that gives the exact value or an error: [`ExactCast`].
//!
//! Arrow's own casts round decimals and floats, cut timestamps and read many spellings of a text as one value. What is cast
//! here is cast back, and must come back as it was. The error names the column and where the rows come from, never a value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::util::display::FormatOptions;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Values that do not fit are errors, not null.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The function of one column.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactCast {
    column: String,
    origin: String,
    to: DataType,
    signature: Signature,
}

/// Why a value could not be cast.
#[derive(Debug, thiserror::Error)]
#[error(
    "a value of column {column} in {origin} does not fit {to} exactly; nothing of this unit was committed: correct the value or the \
     column's type in target.columns"
)]
struct DoesNotFit {
    column: String,
    origin: String,
    to: DataType,
}

impl ExactCast {
    /// The cast to `to` for `column` of the result; `origin` is the file or table of the rows.
    pub(super) fn new(column: &str, origin: &str, to: DataType) -> Self {
        let signature = Signature::any(1, Volatility::Immutable);
        Self { column: column.to_owned(), origin: origin.to_owned(), to, signature }
    }

    /// A constant as a value of the type, if it is one.
    pub(super) fn constant(&self, value: &ScalarValue) -> Option<ScalarValue> {
        let cast = self.exactly(&value.to_array().ok()?)?;
        ScalarValue::try_from_array(&cast, 0).ok()
    }

    fn cast(&self, array: &ArrayRef) -> Result<ArrayRef> {
        self.exactly(array).ok_or_else(|| {
            let (column, origin, to) = (self.column.clone(), self.origin.clone(), self.to.clone());
            DataFusionError::External(Box::new(DoesNotFit { column, origin, to }))
        })
    }

    fn exactly(&self, array: &ArrayRef) -> Option<ArrayRef> {
        let cast = cast_with_options(array, &self.to, &STRICT).ok()?;
        if is_reading_of_a_time(array.data_type(), &self.to) {
            return (cast.null_count() == array.null_count()).then_some(cast);
        }
        let back = cast_with_options(&cast, array.data_type(), &STRICT).ok()?;
        let same = not_distinct(&back, array).ok()?;
        (same.true_count() == array.len()).then_some(cast)
    }
}

/// A text has many spellings of a time. Only the spec's own constants are read so: settling offers no such cast of a column.
fn is_reading_of_a_time(from: &DataType, to: &DataType) -> bool {
    matches!(from, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) && matches!(to, DataType::Timestamp(..))
}

impl ScalarUDFImpl for ExactCast {
    fn name(&self) -> &str {
        "exact_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let castable =
            |field: &FieldRef| can_cast_types(field.data_type(), &self.to) && can_cast_types(&self.to, field.data_type());
        match args.arg_fields.iter().all(castable) {
            true => Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable))),
            false => Err(DataFusionError::Plan(format!("column {} cannot be cast to {} and back", self.column, self.to))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(array)) => self.cast(array).map(ColumnarValue::Array),
            Some(ColumnarValue::Scalar(scalar)) => {
                let cast = self.cast(&scalar.to_array()?)?;
                ScalarValue::try_from_array(&cast, 0).map(ColumnarValue::Scalar)
            }
            None => Err(DataFusionError::Internal("a cast has one argument".to_owned())),
        }
    }
}
