//! [`ZookeeperLocks`]: locks in ZooKeeper. Two nodes a lock, `/lakeshift/<stream>/<name>` with the epoch and its child `holder`; the
//! second is ephemeral.
//!
//! Each lock has a session of its own, so that one that is dropped ends. The client shows the server by itself that it is alive:
//! a lock lives as long as its process does and is heard.

use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_journal::{Epoch, Grant, LeaseError, LockService};
use object_store::path::PathPart;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error, MultiWriteError};

use super::slot::{Failure, Hold, Holding, LockConfig, Seen, Slot, Unread, acquire, epoch_of, hold_of};

const SERVICE: &str = "ZooKeeper";
const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// Locks in ZooKeeper.
#[derive(Debug)]
pub struct ZookeeperLocks {
    cluster: String,
    root: String,
    config: LockConfig,
}

impl ZookeeperLocks {
    /// Locks of the stream `stream` in this cluster: `host:port`, more of them after commas, and a chroot. Does no I/O.
    pub fn new(cluster: &str, stream: &str, config: LockConfig) -> Self {
        let root = format!("/lakeshift/{}", PathPart::from(stream).as_ref());
        Self { cluster: cluster.to_owned(), root, config }
    }
}

#[async_trait]
impl LockService for ZookeeperLocks {
    async fn acquire(&self, name: &str, floor: Epoch) -> Result<Grant, LeaseError> {
        let path = format!("{}/{}", self.root, PathPart::from(name).as_ref());
        let slot = ZookeeperSlot {
            cluster: self.cluster.clone(),
            holder: format!("{path}/holder"),
            path,
            session: StdMutex::new(None),
            ttl: self.config.ttl,
        };
        acquire(Box::new(slot), name, floor, &self.config).await
    }
}

#[derive(Debug)]
struct ZookeeperSlot {
    cluster: String,
    /// The first record's node.
    path: String,
    /// The second's.
    holder: String,
    session: StdMutex<Option<Client>>,
    ttl: Duration,
}

impl ZookeeperSlot {
    fn present(&self) -> Option<Client> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone().filter(|client| !client.state().is_terminated())
    }

    fn set_session(&self, session: Option<Client>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// The session, begun where there is none or the last one has ended.
    async fn client(&self) -> Result<Client, Error> {
        if let Some(client) = self.present() {
            return Ok(client);
        }
        let client = Client::connector().with_session_timeout(self.ttl).connect(&self.cluster).await?;
        self.set_session(Some(client.clone()));
        Ok(client)
    }
}

#[async_trait]
impl Slot for ZookeeperSlot {
    fn service(&self) -> &'static str {
        SERVICE
    }

    async fn read(&self) -> Result<Seen, Unread> {
        let client = self.client().await.map_err(Failure::from)?;
        let (bytes, stat) = match client.get_data(&self.path).await {
            Err(Error::NoNode) => {
                client.mkdir(&self.path, &PERSISTENT).await.map_err(Failure::from)?;
                client.get_data(&self.path).await.map_err(Failure::from)?
            }
            answer => answer.map_err(Failure::from)?,
        };
        let epoch = if bytes.is_empty() { Epoch(0) } else { epoch_of(&bytes, &self.path)? };
        let mut seen = Seen { epoch, version: stat.version.into(), hold: None };
        match client.get_data(&self.holder).await {
            Ok((bytes, stat)) => {
                let hold = hold_of(&bytes, &self.holder)?;
                // The server tells nobody when a session was last heard of.
                let expires_in = Duration::from_millis(hold.ttl_ms);
                let is_of_session = stat.ephemeral_owner == client.session_id().0;
                seen.hold = Some(Holding { hold, is_of_session, expires_in });
            }
            Err(Error::NoNode) => {}
            Err(error) => return Err(Unread::Failed(error.into())),
        }
        Ok(seen)
    }

    async fn write(&self, seen: &Seen, epoch: Epoch, hold: &Hold) -> Result<bool, Failure> {
        let client = self.client().await?;
        let mut hold = hold.clone();
        hold.ttl_ms = u64::try_from(client.session_timeout().as_millis()).unwrap_or(u64::MAX);
        let mut writer = client.new_multi_writer();
        writer.add_set_data(&self.path, epoch.0.to_string().as_bytes(), Some(i32::try_from(seen.version)?))?;
        if seen.hold.is_some() {
            // Of an earlier session of this process, and bound to that.
            writer.add_delete(&self.holder, None)?;
        }
        writer.add_create(&self.holder, &hold.encode()?, &EPHEMERAL)?;
        match writer.commit().await {
            Ok(_) => Ok(true),
            Err(MultiWriteError::OperationFailed {
                source: Error::BadVersion | Error::NodeExists | Error::NoNode, ..
            }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn clear(&self, seen: &Seen) -> Result<(), Failure> {
        let client = self.client().await?;
        let mut writer = client.new_multi_writer();
        writer.add_check_version(&self.path, i32::try_from(seen.version)?)?;
        writer.add_delete(&self.holder, None)?;
        match writer.commit().await {
            // Where it has moved it is another's by now, and there is nothing to clear.
            Ok(_) | Err(MultiWriteError::OperationFailed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn keep_alive(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn ttl(&self) -> Duration {
        self.present().map_or(self.ttl, |client| client.session_timeout())
    }

    async fn close(&self) {
        // The last clone that is dropped closes the session.
        self.set_session(None);
    }
}
