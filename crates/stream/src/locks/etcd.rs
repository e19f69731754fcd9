//! [`EtcdLocks`]: locks in etcd. Two keys a lock, `lakeshift/<stream>/<name>/epoch` and `…/holder`; the second is bound to an etcd
//! lease, which is the session.

use std::sync::Mutex as StdMutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, ConnectOptions, Error, PutOptions, Txn, TxnOp, TxnOpResponse};
use lakeshift_journal::{Epoch, Grant, LeaseError, LockService};
use object_store::path::PathPart;
use tokio::sync::OnceCell;

use super::slot::{Failure, Hold, Holding, LockConfig, Seen, Slot, Unread, acquire, epoch_of, hold_of};

const SERVICE: &str = "etcd";

/// Locks in etcd.
#[derive(Debug)]
pub struct EtcdLocks {
    endpoints: Vec<String>,
    root: String,
    config: LockConfig,
    client: OnceCell<Shared>,
}

/// A client; clones share its connections.
#[derive(Clone)]
struct Shared(Client);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl EtcdLocks {
    /// Locks of the stream `stream` in the cluster with these endpoints. Does no I/O.
    pub fn new(endpoints: Vec<String>, stream: &str, config: LockConfig) -> Self {
        let root = format!("lakeshift/{}", PathPart::from(stream).as_ref());
        Self { endpoints, root, config, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<Shared, Error> {
        let connect = async || {
            let options = ConnectOptions::new().with_connect_timeout(self.config.ttl / 3).with_require_leader(true);
            Client::connect(&self.endpoints, Some(options)).await.map(Shared)
        };
        self.client.get_or_try_init(connect).await.cloned()
    }
}

#[async_trait]
impl LockService for EtcdLocks {
    async fn acquire(&self, name: &str, floor: Epoch) -> Result<Grant, LeaseError> {
        let failed =
            |source: Error| LeaseError::Service { service: SERVICE, name: name.to_owned(), source: Box::new(source) };
        let key = format!("{}/{}", self.root, PathPart::from(name).as_ref());
        let slot = EtcdSlot {
            client: self.client().await.map_err(failed)?,
            epoch: format!("{key}/epoch"),
            holder: format!("{key}/holder"),
            session: StdMutex::new(Session { lease: None, ttl: self.config.ttl }),
        };
        acquire(Box::new(slot), name, floor, &self.config).await
    }
}

#[derive(Debug)]
struct EtcdSlot {
    client: Shared,
    /// The first record's key.
    epoch: String,
    /// The second's.
    holder: String,
    session: StdMutex<Session>,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    lease: Option<i64>,
    /// Whole seconds, and what the cluster makes of them.
    ttl: Duration,
}

impl EtcdSlot {
    fn session(&self) -> Session {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_session(&self, session: Session) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// The session's lease, begun where there is none.
    async fn lease(&self) -> Result<i64, Failure> {
        let session = self.session();
        if let Some(lease) = session.lease {
            return Ok(lease);
        }
        let seconds = i64::try_from(session.ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let granted = self.client.0.clone().lease_grant(seconds, None).await?;
        let ttl = Duration::from_secs(granted.ttl().unsigned_abs());
        self.set_session(Session { lease: Some(granted.id()), ttl });
        Ok(granted.id())
    }

    /// The first record is as it was seen.
    fn unmoved(&self, seen: &Seen) -> Compare {
        Compare::mod_revision(self.epoch.as_str(), CompareOp::Equal, seen.version)
    }
}

#[async_trait]
impl Slot for EtcdSlot {
    fn service(&self) -> &'static str {
        SERVICE
    }

    async fn read(&self) -> Result<Seen, Unread> {
        let mut client = self.client.0.clone();
        let both = [TxnOp::get(self.epoch.as_str(), None), TxnOp::get(self.holder.as_str(), None)];
        let answer = client.txn(Txn::new().and_then(both)).await.map_err(Failure::from)?;
        let mut found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
            _ => None,
        });
        let (epoch, holder) = (found.next().flatten(), found.next().flatten());
        let mut seen = Seen::default();
        if let Some(record) = epoch {
            (seen.epoch, seen.version) = (epoch_of(record.value(), &self.epoch)?, record.mod_revision());
        }
        if let Some(record) = holder {
            let hold = hold_of(record.value(), &self.holder)?;
            let left = client.lease_time_to_live(record.lease(), None).await.map_err(Failure::from)?.ttl();
            let expires_in = Duration::from_secs(u64::try_from(left).unwrap_or(0));
            seen.hold = Some(Holding { hold, is_of_session: self.session().lease == Some(record.lease()), expires_in });
        }
        Ok(seen)
    }

    async fn write(&self, seen: &Seen, epoch: Epoch, hold: &Hold) -> Result<bool, Failure> {
        let lease = self.lease().await?;
        let bound = Some(PutOptions::new().with_lease(lease));
        let puts = [
            TxnOp::put(self.epoch.as_str(), epoch.0.to_string(), None),
            TxnOp::put(self.holder.as_str(), hold.encode()?, bound),
        ];
        Ok(self.client.0.clone().txn(Txn::new().when([self.unmoved(seen)]).and_then(puts)).await?.succeeded())
    }

    async fn clear(&self, seen: &Seen) -> Result<(), Failure> {
        let delete = [TxnOp::delete(self.holder.as_str(), None)];
        // Where it has moved it is another's by now, and there is nothing to clear.
        self.client.0.clone().txn(Txn::new().when([self.unmoved(seen)]).and_then(delete)).await?;
        Ok(())
    }

    async fn keep_alive(&self) -> Result<(), Failure> {
        let Session { lease: Some(lease), ttl } = self.session() else { return Ok(()) };
        match self.client.0.clone().lease_keep_alive(lease).await {
            Ok(_) => Ok(()),
            // The client's word for a lease that has ended.
            Err(Error::LeaseKeepAliveError(_)) => {
                self.set_session(Session { lease: None, ttl });
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn ttl(&self) -> Duration {
        self.session().ttl
    }

    async fn close(&self) {
        let Session { lease: Some(lease), ttl } = self.session() else { return };
        self.set_session(Session { lease: None, ttl });
        if let Err(error) = self.client.0.clone().lease_revoke(lease).await {
            tracing::debug!(%error, "could not revoke a lease of etcd; it ends by itself");
        }
    }
}
