//! The engine: one DataFusion runtime with a memory limit, a spill folder and a degree of parallelism.
//!
//! An [`Engine`] is cheap to clone and shared by all units of a run. Object stores are registered under names of the
//! engine's own, because DataFusion tells stores apart by scheme and host only, and two locations may differ below that.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

/// Consumers named in an out-of-memory error.
const CONSUMERS_TOLD: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// Memory that a sort keeps for merging what it has spilled: DataFusion's default, or this part of little memory.
const MERGE_BYTES_MAX: usize = 10 << 20;
const MERGE_SHARE: usize = 8;

/// How much of the machine the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Memory for operators that buffer, in bytes; beyond it they spill to disk.
    pub memory_bytes: usize,
    /// Files read at the same time by one scan.
    pub concurrency: usize,
    /// Rows in a batch, at most.
    pub batch_rows_max: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, concurrency: 2, batch_rows_max: 8192 }
    }
}

/// Why the engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A setting that cannot work.
    #[error("{setting} must be at least 1")]
    Zero {
        /// The setting's name.
        setting: &'static str,
    },
    /// DataFusion refused the configuration.
    #[error("the query engine could not be started; check that the spill folder can be written")]
    Start {
        /// The cause.
        #[source]
        source: DataFusionError,
    },
}

/// Builds an [`Engine`].
#[derive(Debug, Clone, Default)]
pub struct EngineBuilder {
    settings: EngineSettings,
    spill_dir: Option<PathBuf>,
}

impl EngineBuilder {
    /// Replaces the settings.
    #[must_use]
    pub fn with_settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Where operators spill; the system's temporary folder when not given.
    #[must_use]
    pub fn with_spill_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spill_dir = Some(folder.into());
        self
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// [`EngineError`] for a setting of zero or a spill folder that cannot be used.
    pub fn build(self) -> Result<Engine, EngineError> {
        let EngineSettings { memory_bytes, concurrency, batch_rows_max } = self.settings;
        for (setting, value) in
            [("memory_bytes", memory_bytes), ("concurrency", concurrency), ("batch_rows_max", batch_rows_max)]
        {
            if value == 0 {
                return Err(EngineError::Zero { setting });
            }
        }
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory_bytes), CONSUMERS_TOLD);
        let mut runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool));
        if let Some(folder) = self.spill_dir {
            runtime = runtime.with_temp_file_path(folder);
        }
        let runtime = runtime.build_arc().map_err(|source| EngineError::Start { source })?;
        let config = SessionConfig::new()
            .with_batch_size(batch_rows_max)
            .with_target_partitions(concurrency)
            .with_sort_spill_reservation_bytes(MERGE_BYTES_MAX.min(memory_bytes / MERGE_SHARE));
        let session = SessionContext::new_with_config_rt(config, runtime);
        Ok(Engine { session, settings: self.settings, stores: Arc::default() })
    }
}

/// A running engine.
#[derive(Clone)]
pub struct Engine {
    session: SessionContext,
    settings: EngineSettings,
    stores: Arc<Mutex<Vec<Arc<dyn ObjectStore>>>>,
}

impl Engine {
    /// A builder with default settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The settings it runs with.
    pub fn settings(&self) -> EngineSettings {
        self.settings
    }

    /// The DataFusion session, for plans beyond [`crate::scan`].
    pub fn session(&self) -> &SessionContext {
        &self.session
    }

    /// Runs a plan; its partitions are merged into one stream as they come.
    ///
    /// # Errors
    /// DataFusion's, where the plan cannot be started.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream, DataFusionError> {
        execute_stream(plan, self.session.task_ctx())
    }

    /// The URL under which DataFusion finds `store`.
    ///
    /// # Errors
    /// Never in practice: the URL is made here.
    pub fn register(&self, store: &Arc<dyn ObjectStore>) -> Result<ObjectStoreUrl, DataFusionError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let known = stores.iter().position(|other| Arc::ptr_eq(other, store));
        let index = known.unwrap_or(stores.len());
        let url = ObjectStoreUrl::parse(format!("lakeshift://store-{index}"))?;
        if known.is_none() {
            self.session.runtime_env().register_object_store(url.as_ref(), Arc::clone(store));
            stores.push(Arc::clone(store));
        }
        Ok(url)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What reads and computes here, by name and version, as far as the libraries tell.
pub fn versions() -> [(&'static str, &'static str); 2] {
    [("arrow", arrow::ARROW_VERSION), ("datafusion", datafusion::DATAFUSION_VERSION)]
}
