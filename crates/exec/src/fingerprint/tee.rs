//! Rows on their way to somewhere else, with the sums of each file they come from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use futures::StreamExt;
use lakeshift_core::equivalence::Fingerprint;
use tokio::sync::mpsc::Sender;

use super::{Accumulator, FingerprintRequest};
use crate::engine::Engine;

/// The sums of plans that are being read.
#[derive(Debug, Clone)]
pub struct TeeSums(Arc<Mutex<Vec<Option<Fingerprint>>>>);

impl TeeSums {
    /// For each plan its sums, if it was read to its end and its rows can be hashed.
    pub fn take(&self) -> Vec<Option<Fingerprint>> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// Runs `plans`, which have one schema, as many at a time as the engine's concurrency, and merges their rows into one
/// stream. With a `request` the rows of every plan are hashed as they pass. A plan is opened when its turn comes.
///
/// # Errors
/// DataFusion's, when there is no plan; those of the plans come in the stream.
pub fn tee(
    engine: &Engine,
    plans: Vec<Arc<dyn ExecutionPlan>>,
    request: Option<FingerprintRequest>,
) -> Result<(SendableRecordBatchStream, TeeSums), DataFusionError> {
    let none = || DataFusionError::Internal("there is no plan to read".to_owned());
    let schema = plans.first().ok_or_else(none)?.schema();
    let sums = TeeSums(Arc::new(Mutex::new(vec![None; plans.len()])));
    let workers = engine.settings().concurrency.clamp(1, plans.len());
    let waiting = Arc::new(Mutex::new(plans.into_iter().enumerate().collect::<VecDeque<_>>()));
    let mut builder = RecordBatchReceiverStream::builder(schema, workers);
    for _ in 0..workers {
        let (engine, waiting, sums, request) = (engine.clone(), Arc::clone(&waiting), sums.clone(), request.clone());
        let rows = builder.tx();
        builder.spawn(async move {
            loop {
                let Some((index, plan)) = lock(&waiting).pop_front() else { return Ok(()) };
                let stream = engine.execute(plan)?;
                match read(stream, request.as_ref(), &rows).await? {
                    Read::ToTheEnd(print) => lock(&sums.0)[index] = print,
                    Read::NobodyListens => return Ok(()),
                }
            }
        });
    }
    Ok((builder.build(), sums))
}

enum Read {
    ToTheEnd(Option<Fingerprint>),
    NobodyListens,
}

async fn read(
    mut stream: SendableRecordBatchStream,
    request: Option<&FingerprintRequest>,
    rows: &Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<Read, DataFusionError> {
    // Rows that cannot be hashed are moved all the same: what cannot be compared is the validation's to say.
    let mut accumulator = request.and_then(|request| Accumulator::new(request).ok());
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        accumulator = accumulator.and_then(|mut sums| sums.push(&batch).is_ok().then_some(sums));
        if rows.send(Ok(batch)).await.is_err() {
            return Ok(Read::NobodyListens);
        }
    }
    Ok(Read::ToTheEnd(accumulator.map(Accumulator::finish)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
