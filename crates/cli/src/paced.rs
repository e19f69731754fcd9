//! [`PacedStore`]: any object store, whose requests wait for their turn and are counted.

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
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::live::Live;
use crate::meter::{Kind, Meter};

/// The same place, with its store's requests paced and counted. A call is one request: what a store makes of it (a listing's
/// pages, several ranges of an object) is not seen from here. An upload waits for one turn; its parts are counted.
pub fn paced(storage: &Storage, live: &Live) -> Storage {
    through(storage, Turn { throttle: Some(live.requests().clone()), meter: live.meter().clone() })
}

/// The same place, with its store's requests counted and never held.
pub fn counted(storage: &Storage, meter: &Meter) -> Storage {
    through(storage, Turn { throttle: None, meter: meter.clone() })
}

fn through(storage: &Storage, turn: Turn) -> Storage {
    let store = PacedStore { inner: storage.store().clone(), turn };
    let paced = Storage::new(storage.url().clone(), Arc::new(store), storage.prefix().clone());
    if storage.is_on_disk() { paced.on_disk() } else { paced }
}

#[derive(Debug)]
struct PacedStore {
    inner: Arc<dyn ObjectStore>,
    turn: Turn,
}

/// Waits for a request's turn, and counts it.
#[derive(Debug, Clone)]
struct Turn {
    throttle: Option<Throttle>,
    meter: Meter,
}

impl Turn {
    async fn take(&self, kind: Kind) {
        if let Some(throttle) = &self.throttle {
            throttle.take(1).await;
        }
        self.meter.request(kind);
    }
}

/// An upload whose bytes are counted.
#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    meter: Meter,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.meter.request(Kind::Put);
        self.meter.written(data.content_length() as u64);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.request(Kind::Put);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

impl PacedStore {
    fn paced_list(
        &self,
        list: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, turn) = (self.inner.clone(), self.turn.clone());
        let listing = async move {
            turn.take(Kind::List).await;
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
        self.turn.take(Kind::Put).await;
        self.turn.meter.written(payload.content_length() as u64);
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.turn.take(Kind::Put).await;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(CountedUpload { inner, meter: self.turn.meter.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        self.turn.take(if is_head { Kind::Head } else { Kind::Get }).await;
        let result = self.inner.get_opts(location, options).await?;
        if !is_head {
            self.turn.meter.read(result.range.end - result.range.start);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.turn.take(Kind::Get).await;
        let read = self.inner.get_ranges(location, ranges).await?;
        self.turn.meter.read(read.iter().map(|bytes| bytes.len() as u64).sum());
        Ok(read)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let turn = self.turn.clone();
        let paced = locations.then(move |location| {
            let turn = turn.clone();
            async move {
                turn.take(Kind::Delete).await;
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
        self.turn.take(Kind::List).await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.turn.take(Kind::Put).await;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.turn.take(Kind::Put).await;
        self.inner.rename_opts(from, to, options).await
    }
}
