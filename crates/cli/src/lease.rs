//! Keeping a lease while work is under way.

use std::future::Future;
use std::sync::Arc;

use futures::future::{Either, select};
use lakeshift_journal::{Clock, Lease, Standing};

use crate::error::Error;

/// Runs `work`, and renews the lease meanwhile.
///
/// # Errors
/// [`Error::Fenced`] when it is lost; `work` is then dropped.
pub async fn while_renewing<T>(clock: &Arc<dyn Clock>, lease: &Lease, work: impl Future<Output = T>) -> Result<T, Error> {
    // On the heap: what is computed meanwhile is large, and calls of this nest.
    let mut work = Box::pin(work);
    loop {
        match select(work, clock.sleep(lease.ttl() / 3)).await {
            Either::Left((output, _)) => return Ok(output),
            Either::Right(((), unfinished)) => work = unfinished,
        }
        renew(lease).await?;
    }
}

/// Renews a lease. A renewal that fails is no reason to stop: the fence decides at the next write.
///
/// # Errors
/// [`Error::Fenced`] when it is lost.
pub async fn renew(lease: &Lease) -> Result<(), Error> {
    match lease.renew().await {
        Ok(Standing::Held) => Ok(()),
        Ok(Standing::Lost { current }) => Err(Error::Fenced { current }),
        Ok(Standing::Released) => Err(Error::Fenced { current: lease.epoch() }),
        Err(error) => {
            tracing::warn!(%error, "could not renew the lease");
            Ok(())
        }
    }
}
