//! `resolve`: where readers find a table.

use lakeshift_core::pointer::Alias;

use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, name: &str, control: &str) -> Result<Answer, Error> {
    let control = context.stores.open(&crate::commands::init::as_url(control)?)?;
    let pointer = Alias::new(&control, name, context.clock.clone()).resolve().await?;
    Ok(Answer::done(pointer.location.clone(), &pointer))
}
