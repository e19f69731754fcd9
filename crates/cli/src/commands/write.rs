//! `write`: a batch job's rows, to both tables.

use std::time::Duration;

use lakeshift_core::migration::Side;
use serde_json::json;

use crate::args::WriteArgs;
use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;
use crate::writer::{Carried, DualWriter};

pub async fn run(context: &Context, args: &WriteArgs) -> Result<Answer, Error> {
    let mut writer = DualWriter::open(context, &args.to).await?.with_wait(Duration::from_secs(args.wait));
    let done = writer.write_files(&args.files, args.id.as_deref()).await?;
    let written = &done.written;
    let (side, other) = match written.side {
        Side::Old => ("old", "new"),
        Side::New => ("new", "old"),
    };
    let first = match written.before {
        true => format!("written before, as write {}", written.number),
        false => {
            format!("write {}: {} row(s) are in the {side} table, at {}", written.number, written.rows, written.version)
        }
    };
    let (then, carried, exit_code) = match &done.carried {
        Carried::Done => (format!("and in the {other} table"), "done", 0),
        Carried::Later(why) => (format!("not yet in the {other} table: {why}"), "later", 5),
        Carried::No(why) => (format!("nothing is carried to the {other} table: {why}"), "no", 0),
    };
    let json = json!({
        "number": written.number, "rows": written.rows, "side": written.side, "version": written.version,
        "before": written.before, "carried": carried, "exit_code": exit_code,
    });
    Ok(Answer::done(format!("{first}\n{then}"), json).with_exit_code(exit_code))
}
