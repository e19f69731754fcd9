//! [`FaultStore`]: wraps any object store, numbers its operations, and makes one of them fail as a [`FaultPlan`] says.
//!
//! Run a scenario once with [`FaultPlan::None`] to see its operations, then once for each of [`FaultPlan::every`]; after
//! each, reopen on the *inner* store, as a new process would.

mod chaos;
mod plan;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};

pub use chaos::Chaos;
pub use plan::{Counted, FaultPlan, Gate, Operation, OperationKind};
use plan::{Settings, Shared};
use upload::FaultUpload;

/// An object store that counts and fails. Every method is forwarded, so nothing passes uncounted.
///
/// A rename is a copy and a delete, as on object storage; deleting many objects is one operation for each; a listing is
/// one operation.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
}

impl FaultStore {
    /// `inner` with every operation counted and `plan` carried out.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan) -> Self {
        Self { inner, shared: Arc::new(Shared::new(Settings::new(plan))) }
    }

    /// As this store, with the plan's number counting only the `counted` operations.
    #[must_use]
    pub fn with_counted(self, counted: Counted) -> Self {
        self.with(|settings| settings.counted = counted)
    }

    /// As this store, with every operation preceded by `latency` of real time.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        self.with(|settings| settings.latency = latency)
    }

    /// As this store, on a bad day.
    #[must_use]
    pub fn with_chaos(self, chaos: Arc<Chaos>) -> Self {
        self.with(|settings| settings.chaos = Some(chaos))
    }

    /// As this store, with every operation kept until `gate` answers: it is refused with the reason that the gate gives, or
    /// carried out where it gives none.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        self.with(|settings| settings.gate = Some(gate))
    }

    /// As this store, which replaces an object where it was to be created only: what no store may do under Lakeshift,
    /// because leases, journals and commits rest on it.
    #[must_use]
    pub fn without_create_only(self) -> Self {
        self.with(|settings| settings.creates_only = false)
    }

    /// A store of these settings that has done nothing yet.
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        change(&mut settings);
        Self { inner: self.inner, shared: Arc::new(Shared::new(settings)) }
    }

    /// The operations begun so far, those that failed by the plan included, those after a crash not.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.operations()
    }

    /// Those of [`FaultStore::operations`] that change the store.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.shared.mutations()
    }

    /// What was done, in order.
    #[must_use]
    pub fn history(&self) -> Vec<Operation> {
        self.shared.history()
    }

    /// Whether the plan's operation was reached. A scenario that never reaches it has tested nothing.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.shared.has_struck()
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if !self.shared.settings.creates_only && options.mode == PutMode::Create {
            options.mode = PutMode::Overwrite;
        }
        let put = self.inner.put_opts(location, payload, options);
        self.shared.run(OperationKind::Put, location, put).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begin = self.inner.put_multipart_opts(location, options);
        let inner = self.shared.run(OperationKind::MultipartBegin, location, begin).await?;
        Ok(Box::new(FaultUpload::new(inner, self.shared.clone(), location.clone())))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { OperationKind::Head } else { OperationKind::Get };
        self.shared.run(kind, location, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.shared.run(OperationKind::Get, location, self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, shared) = (self.inner.clone(), self.shared.clone());
        locations
            .and_then(move |location| {
                let (inner, shared) = (inner.clone(), shared.clone());
                async move {
                    shared.run(OperationKind::Delete, &location, inner.delete(&location)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let location = prefix.cloned().unwrap_or_default();
        self.shared.run(OperationKind::List, &location, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.run(OperationKind::Copy, to, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        let copy = CopyOptions { mode, extensions: options.extensions };
        self.copy_opts(from, to, copy).await?;
        self.delete(from).await
    }
}

impl FaultStore {
    /// Numbered when it is first polled, as a request would be sent.
    fn listing(
        &self,
        prefix: Option<&Path>,
        inner: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let location = prefix.cloned().unwrap_or_default();
        let shared = self.shared.clone();
        stream::once(async move { shared.run(OperationKind::List, &location, async { Ok(inner) }).await })
            .try_flatten()
            .boxed()
    }
}
