//! [`FaultUpload`]: a multipart upload whose every part, completion and abortion is an operation.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::OperationKind;
use super::plan::Shared;

#[derive(Debug)]
pub(super) struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    shared: Arc<Shared>,
    path: Path,
}

impl FaultUpload {
    pub fn new(inner: Box<dyn MultipartUpload>, shared: Arc<Shared>, path: Path) -> Self {
        Self { inner, shared, path }
    }
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        // The inner upload must be told now, so that parts keep their order; the part is sent when it is polled.
        let part = self.inner.put_part(data);
        let (shared, path) = (self.shared.clone(), self.path.clone());
        Box::pin(async move { shared.run(OperationKind::MultipartPart, &path, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.shared.run(OperationKind::MultipartComplete, &self.path, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.shared.run(OperationKind::MultipartAbort, &self.path, self.inner.abort()).await
    }
}
