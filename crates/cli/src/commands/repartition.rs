//! `repartition`: the new table's other writers go on under another partitioning.

use std::path::Path;

use lakeshift_core::mapping::check_partition;
use lakeshift_core::migration::{Command, Work};
use lakeshift_core::partition::{PartitionField, PartitionSpec};
use lakeshift_core::spec::print_partition_field;
use lakeshift_core::table::Format;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::commit::{Delta, commit};
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, fields: Vec<PartitionField>) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let partition = PartitionSpec { fields };
    let done = opened
        .act(
            Command::Repartition,
            |evidence| evidence,
            async |opened| {
                check(opened, &partition).await?;
                let work = Work::Repartition { fields: partition.fields.iter().map(print_partition_field).collect() };
                let delta = Delta { repartition: Some(partition.clone()), ..Delta::default() };
                commit(&mut opened.session, &opened.tables, work, delta).await
            },
        )
        .await?;
    let headline =
        done.map_or("nothing to do", |_| "the new table's other writers partition anew; its files are as they were");
    super::status::answer(&opened, headline).await
}

/// Refuses what the table cannot be partitioned by, before anything is intended.
async fn check(opened: &Opened, partition: &PartitionSpec) -> Result<(), Error> {
    let format = opened.tables.target.format();
    if format != Format::Iceberg {
        let reason = format!("a live {format} table has one partitioning; plan a migration to the other one");
        return Err(Error::Argument { text: "repartition".to_owned(), reason });
    }
    let schema = opened.tables.target.snapshot(None).await?.schema;
    match check_partition(&schema, partition, format).as_slice() {
        [] => Ok(()),
        reasons => Err(Error::Argument { text: "--to".to_owned(), reason: reasons.join("; ") }),
    }
}
