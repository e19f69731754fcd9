//! A column that is read from the file where the file has it and is a constant where it has not.
//!
//! [`FileOr`] stands in a scan's projection until a file is opened; then [`FileOrAdapterFactory`] puts the file's column or
//! the constant in its place and leaves the rest to DataFusion's own adapter.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

/// The file's column, or a constant when the file lacks it.
#[derive(Debug, Clone, Eq, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the manual PartialEq below compares what a derived one would")]
pub(super) struct FileOr {
    file: Arc<dyn PhysicalExpr>,
    constant: Arc<dyn PhysicalExpr>,
    field: FieldRef,
}

impl FileOr {
    pub(super) fn new(file: Arc<dyn PhysicalExpr>, constant: Arc<dyn PhysicalExpr>, field: FieldRef) -> Self {
        Self { file, constant, field }
    }
}

// The derive does not compile for shared trait objects (rust-lang/rust#78808).
impl PartialEq for FileOr {
    fn eq(&self, other: &Self) -> bool {
        self.file.eq(&other.file) && self.constant.eq(&other.constant) && self.field == other.field
    }
}

impl fmt::Display for FileOr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)
    }
}

impl PhysicalExpr for FileOr {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(self.field.is_nullable())
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    /// Reached only where the file's schema is the table's, and so has the column.
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.file.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.file, &self.constant]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 2]>::try_from(children) {
            Ok([file, constant]) => Ok(Arc::new(Self::new(file, constant, Arc::clone(&self.field)))),
            Err(_) => Err(DataFusionError::Internal("a file-or-constant column has two children".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt_sql(f)
    }
}

/// Resolves [`FileOr`] against each file's schema.
#[derive(Debug)]
pub(super) struct FileOrAdapterFactory;

impl PhysicalExprAdapterFactory for FileOrAdapterFactory {
    fn create(&self, logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let rest = DefaultPhysicalExprAdapterFactory.create(logical, Arc::clone(&physical))?;
        Ok(Arc::new(FileOrAdapter { physical, rest }))
    }
}

#[derive(Debug)]
struct FileOrAdapter {
    physical: SchemaRef,
    rest: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for FileOrAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let resolved = expr.transform_down(|expr| {
            let Some(choice) = expr.downcast_ref::<FileOr>() else { return Ok(Transformed::no(expr)) };
            let column = choice.file.downcast_ref::<Column>();
            let in_file = column.is_some_and(|column| self.physical.index_of(column.name()).is_ok());
            Ok(Transformed::yes(Arc::clone(if in_file { &choice.file } else { &choice.constant })))
        });
        self.rest.rewrite(resolved.data()?)
    }
}
