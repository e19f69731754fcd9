//! [`PacedStore`]: any object store, whose requests wait for their turn.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::storage::Storage;
use lakeshift_exec::throttle::Throttle;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// The same place, with its store's requests paced. A call counts as one request: what a store makes of it (a listing's
/// pages, an upload's parts) is not seen from here.
pub fn paced(storage: &Storage, requests: &Throttle) -> Storage {
    let store = PacedStore { inner: storage.store().clone(), requests: requests.clone() };
    let paced = Storage::new(storage.url().clone(), Arc::new(store), storage.prefix().clone());
    if storage.is_on_disk() { paced.on_disk() } else { paced }
}

#[derive(Debug)]
struct PacedStore {
    inner: Arc<dyn ObjectStore>,
    requests: Throttle,
}

impl PacedStore {
    fn paced_list(
        &self,
        list: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, requests) = (self.inner.clone(), self.requests.clone());
        let listing = async move {
            requests.take(1).await;
            Ok::<_, object_store::Error>(list(inner.as_ref()))
        };
        futures::stream::once(listing).try_flatten().boxed()
    }
}

impl fmt::Display for PacedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for PacedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.requests.take(1).await;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.requests.take(1).await;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.take(1).await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.requests.take(1).await;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let requests = self.requests.clone();
        let paced = locations.then(move |location| {
            let requests = requests.clone();
            async move {
                requests.take(1).await;
                location
            }
        });
        self.inner.delete_stream(paced.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.paced_list(move |inner| inner.list(prefix.as_ref()))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.paced_list(move |inner| inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.take(1).await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.requests.take(1).await;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.requests.take(1).await;
        self.inner.rename_opts(from, to, options).await
    }
}
