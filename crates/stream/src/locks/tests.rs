//! The three services keep to one contract, and a holder that wakes up late fails at its commit under each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::table::{MigrationId, TableVersion};
use lakeshift_journal::{JournalConfig, LeaseConfig, LockService, ObjectLocks};
use lakeshift_testkit::contract::{LockProcess, LockWorld, lock_contract};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore, ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::simulation::table::{Row, SimTable};
use crate::{
    Ask, Asked, Backfill, BackfillConfig, Mode, Positions, Range, Refusal, Register, StreamError, StreamEvent, locks,
};

/// Of locks in the tests. Real services are waited for as long.
const TTL: Duration = Duration::from_secs(4);

/// The object store, by a clock of its own.
struct ObjectWorld {
    store: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
    is_down: Arc<AtomicBool>,
}

impl ObjectWorld {
    fn new() -> Self {
        Self { store: Arc::new(InMemory::new()), clock: Arc::new(ManualClock::new()), is_down: Arc::default() }
    }

    fn process(&self, holder: &str, plan: FaultPlan) -> LockProcess {
        let (is_down, is_severed) = (self.is_down.clone(), Arc::new(AtomicBool::new(false)));
        let severed = is_severed.clone();
        let gate = move |_, _: &Path| -> futures::future::BoxFuture<'static, Option<&'static str>> {
            let refused = is_down.load(Ordering::SeqCst) || severed.load(Ordering::SeqCst);
            Box::pin(async move { refused.then_some("it is not reached") })
        };
        let store = FaultStore::new(self.store.clone(), plan).with_counted(Counted::Mutations).with_gate(Arc::new(gate));
        let store = Arc::new(store);
        let config = LeaseConfig {
            store: store.clone(),
            prefix: Path::from("locks"),
            clock: self.clock.clone(),
            rng: Arc::new(lakeshift_journal::SystemRng),
            holder: holder.to_owned(),
            ttl: TTL,
        };
        LockProcess {
            service: Arc::new(ObjectLocks::new(config)),
            sever: Box::new(move |on| is_severed.store(on, Ordering::SeqCst)),
            has_lost: Box::new(move || store.has_struck()),
        }
    }
}

#[async_trait]
impl LockWorld for ObjectWorld {
    async fn join(&self, holder: &str) -> LockProcess {
        self.process(holder, FaultPlan::None)
    }

    async fn join_unheard(&self) -> LockProcess {
        self.process("unheard", FaultPlan::LostResponse(1))
    }

    async fn outlive(&self) {
        self.clock.advance(TTL);
    }

    async fn wait(&self) {}

    async fn stop(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    async fn start(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }
}

/// The real services.
#[cfg(any(feature = "etcd", feature = "zookeeper"))]
mod real {
    use lakeshift_journal::{Clock, SystemClock, SystemRng};
    use lakeshift_testkit::{CutProxy, Restartable};
    use tokio::sync::Mutex;

    use super::*;
    use crate::locks::LockConfig;

    /// Who never hears an answer; of all requests only those that take a lock have this name in them.
    const UNHEARD: &str = "never-hears-an-answer";

    pub struct RealWorld {
        server: Mutex<Restartable>,
        /// A client of the server at an address.
        service: fn(&str, LockConfig) -> Arc<dyn LockService>,
    }

    impl RealWorld {
        #[cfg(feature = "etcd")]
        pub async fn etcd() -> Option<Self> {
            let server = Mutex::new(lakeshift_testkit::etcd::start_if_installed().await?);
            let service = |at: &str, config| -> Arc<dyn LockService> {
                Arc::new(locks::EtcdLocks::new(vec![at.to_owned()], "flights", config))
            };
            Some(Self { server, service })
        }

        #[cfg(feature = "zookeeper")]
        pub async fn zookeeper() -> Option<Self> {
            let server = Mutex::new(lakeshift_testkit::zookeeper::start_if_installed().await?);
            let service =
                |at: &str, config| -> Arc<dyn LockService> { Arc::new(locks::ZookeeperLocks::new(at, "flights", config)) };
            Some(Self { server, service })
        }

        async fn process(&self, holder: &str, needle: Option<&'static str>) -> LockProcess {
            let port = self.server.lock().await.port();
            let proxy = match needle {
                Some(needle) => CutProxy::start(port, needle).await.unwrap(),
                None => CutProxy::start_sound(port).await.unwrap(),
            };
            let proxy = Arc::new(proxy);
            let config = LockConfig {
                holder: holder.to_owned(),
                ttl: TTL,
                clock: Arc::new(SystemClock::new()),
                rng: Arc::new(SystemRng),
            };
            LockProcess {
                service: (self.service)(&format!("127.0.0.1:{}", proxy.port()), config),
                sever: Box::new({
                    let proxy = proxy.clone();
                    move |on| if on { proxy.sever() } else { proxy.mend() }
                }),
                has_lost: Box::new(move || proxy.has_struck()),
            }
        }
    }

    #[async_trait]
    impl LockWorld for RealWorld {
        async fn join(&self, holder: &str) -> LockProcess {
            self.process(holder, None).await
        }

        async fn join_unheard(&self) -> LockProcess {
            self.process(UNHEARD, Some(UNHEARD)).await
        }

        async fn outlive(&self) {
            SystemClock::new().sleep(TTL * 3 / 2).await;
        }

        async fn wait(&self) {
            SystemClock::new().sleep(Duration::from_millis(200)).await;
        }

        async fn stop(&self) {
            self.server.lock().await.stop();
        }

        async fn start(&self) {
            self.server.lock().await.start_again().await.unwrap();
        }
    }
}

#[tokio::test]
async fn locks_on_an_object_store_keep_to_the_contract() {
    lock_contract(&ObjectWorld::new()).await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn locks_in_etcd_keep_to_the_contract() {
    let Some(world) = real::RealWorld::etcd().await else { return };
    lock_contract(&world).await;
}

#[cfg(feature = "zookeeper")]
#[tokio::test(flavor = "multi_thread")]
async fn locks_in_zookeeper_keep_to_the_contract() {
    let Some(world) = real::RealWorld::zookeeper().await else { return };
    lock_contract(&world).await;
}

/// Backfill processes over one journal and one table; only locks go by the service.
struct Shop {
    store: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
}

impl Shop {
    fn table(&self, seed: u64) -> SimTable {
        SimTable { store: self.store.clone(), clock: self.clock.clone(), rng: Arc::new(SeededRng::new(seed)) }
    }

    async fn register(&self, seed: u64) -> Result<Register, StreamError> {
        Register::open(JournalConfig {
            store: self.store.clone(),
            prefix: Path::from("stream/journal"),
            clock: self.clock.clone(),
            rng: Arc::new(SeededRng::new(seed)),
            writer: format!("process {seed}"),
        })
        .await
    }

    async fn lock(&self, service: &Arc<dyn LockService>, seed: u64) -> Result<Asked<Arc<SimTable>>, StreamError> {
        let config = BackfillConfig {
            stream: MigrationId("s".to_owned()),
            table: Arc::new(self.table(seed)),
            locks: service.clone(),
            clock: self.clock.clone(),
        };
        let range = Range { from: 0, to: 3, entity: None };
        let ask = Ask { name: "b".to_owned(), range, mode: Mode::Park, cut_off: Positions::new() };
        Backfill::lock(config, self.register(seed).await?, &ask).await
    }

    /// Writes a row of this value, which nothing refers to yet.
    async fn write(&self, backfill: &Backfill<Arc<SimTable>>, value: u64) -> Vec<lakeshift_core::table::NewFile> {
        let (id, unit, epoch) = backfill.files_of();
        let row = Row { partition: 0, offset: 0, period: 1, entity: "x".to_owned(), value };
        self.table(value).write(vec![row], &data_file_stem(&id, &unit, epoch)).await.unwrap()
    }

    async fn values(&self) -> Vec<u64> {
        let (table, mut values) = (self.table(0), Vec::new());
        for path in table.standing().await.unwrap().live.keys() {
            values.extend(table.rows(path).await.into_iter().map(|row| row.value));
        }
        values
    }
}

/// The first process loses its way to the service for longer than a lock lives; a second one takes over. `ends` says whether
/// that one has ended the backfill when the first one wakes up and commits.
async fn a_late_commit_fails(world: &dyn LockWorld, ends: bool) {
    let shop = Shop { store: Arc::new(InMemory::new()), clock: Arc::new(ManualClock::new()) };
    let wait = Duration::ZERO;
    let (sleeper, successor) = (world.join("sleeper").await, world.join("successor").await);
    let Asked::Locked(mut late) = shop.lock(&sleeper.service, 1).await.unwrap() else { panic!("it is free") };
    let boundary = late.boundary(wait).await.unwrap();
    let rows = shop.write(&late, 1).await;
    (sleeper.sever)(true);
    world.outlive().await;

    let mut taken = loop {
        match shop.lock(&successor.service, 2).await.unwrap() {
            Asked::Locked(taken) => break taken,
            Asked::Held { .. } => world.wait().await,
            Asked::Refused(refusal) => panic!("{refusal}"),
        }
    };
    let expected = if ends {
        let (boundary, rows) = (taken.boundary(wait).await.unwrap(), shop.write(&taken, 2).await);
        taken.commit(&boundary, rows, Vec::new()).await.unwrap();
        taken.validated("looked at").await.unwrap();
        taken.release().await.unwrap();
        vec![2]
    } else {
        Vec::new()
    };

    (sleeper.sever)(false);
    let error = late.commit(&boundary, rows, Vec::new()).await.unwrap_err();
    assert!(matches!(error, StreamError::Fenced { .. }), "{error}");
    let error = late.validated("looked at").await.unwrap_err();
    assert!(matches!(error, StreamError::Refused(_)), "{error}");
    // The journal refuses its epoch as well, whatever the process knows of it.
    let (lock, (_, _, epoch)) = (late.held().unwrap().id(), late.files_of());
    let event = StreamEvent::BatchCommitted { lock, epoch, version: TableVersion("1".to_owned()) };
    let error = shop.register(3).await.unwrap().record_beside(&event).await.unwrap_err();
    assert!(matches!(error, StreamError::Refused(Refusal::LockLost { .. })), "{error}");
    let error = late.abandon().await.unwrap_err();
    assert!(matches!(error, StreamError::Fenced { .. }), "{error}");
    assert_eq!(shop.values().await, expected);
}

#[tokio::test]
async fn a_late_holder_of_an_object_stores_lock_is_fenced_at_its_commit() {
    a_late_commit_fails(&ObjectWorld::new(), true).await;
    a_late_commit_fails(&ObjectWorld::new(), false).await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn a_late_holder_of_etcds_lock_is_fenced_at_its_commit() {
    let Some(world) = real::RealWorld::etcd().await else { return };
    a_late_commit_fails(&world, true).await;
}

#[cfg(feature = "zookeeper")]
#[tokio::test(flavor = "multi_thread")]
async fn a_late_holder_of_zookeepers_lock_is_fenced_at_its_commit() {
    let Some(world) = real::RealWorld::zookeeper().await else { return };
    a_late_commit_fails(&world, true).await;
}

#[cfg(not(all(feature = "etcd", feature = "zookeeper")))]
#[test]
fn a_service_that_was_not_built_in_is_refused_by_its_name() {
    use lakeshift_core::stream::LocksSpec;
    let etcd = LocksSpec { etcd: Some(vec!["e:2379".to_owned()]), zookeeper: None };
    let zookeeper = LocksSpec { etcd: None, zookeeper: Some("z:2181".to_owned()) };
    for (spec, service, is_there) in
        [(etcd, "etcd", cfg!(feature = "etcd")), (zookeeper, "zookeeper", cfg!(feature = "zookeeper"))]
    {
        let config = LeaseConfig {
            store: Arc::new(InMemory::new()),
            prefix: Path::from("locks"),
            clock: Arc::new(ManualClock::new()),
            rng: Arc::new(SeededRng::new(1)),
            holder: "one".to_owned(),
            ttl: TTL,
        };
        match locks::open(Some(&spec), "flights", config) {
            Ok(_) => assert!(is_there, "{service}"),
            Err(error) => assert!(!is_there && error.to_string().contains(&format!("--features {service}")), "{error}"),
        }
    }
}
