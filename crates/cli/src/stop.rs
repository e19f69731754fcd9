//! A request to stop, such as Ctrl-C: long work looks at it between commits and ends cleanly.

use std::future::Future;

use futures::future::{Either, select};
use tokio::sync::watch;

use crate::error::Error;

/// The side that is asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// The side that asks.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Both sides.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// A request that never comes.
    pub fn never() -> Self {
        channel().1
    }

    /// Fails if a stop was asked for.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<(), Error> {
        if *self.0.borrow() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Turns true when a stop is asked for.
    pub fn asked(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Runs work that may be dropped at any point, until it ends or a stop is asked for.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; the work was dropped.
    pub async fn or_drop<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut receiver = self.0.clone();
        let asked = std::pin::pin!(async move {
            if receiver.wait_for(|asked| *asked).await.is_err() {
                // Nobody is left who could ask.
                std::future::pending::<()>().await;
            }
        });
        match select(std::pin::pin!(work), asked).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(Error::Interrupted),
        }
    }
}
