//! A migration opened for a command: its spec read, its tables at hand, its lease held while it acts.

use std::path::Path;

use lakeshift_core::migration::{Command, Evidence};
use lakeshift_core::spec::Spec;

use crate::context::Context;
use crate::engine::rows::Rows;
use crate::engine::tables::Tables;
use crate::engine::{commit, evidence, fence, switch};
use crate::error::Error;
use crate::hooks;
use crate::session::{Admission, Session};

/// An opened migration.
#[derive(Debug)]
pub struct Opened {
    /// Its journal and lease.
    pub session: Session,
    /// Its tables.
    pub tables: Tables,
    /// How rows are read and written.
    pub rows: Rows,
}

/// Reads a spec: a file, or the `migration.yaml` of a folder.
pub fn read_spec(path: &Path) -> Result<Spec, Error> {
    let file = if path.is_dir() { path.join("migration.yaml") } else { path.to_owned() };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|source| Error::ReadSpec { path: name.clone(), source })?;
    Ok(Spec::from_yaml(&text, &file)?)
}

impl Opened {
    /// Opens the migration of a spec; writes nothing.
    pub async fn new(context: &Context, path: &Path) -> Result<Self, Error> {
        let session = Session::open(context, read_spec(path)?).await?;
        let tables = Tables::open(context, &session.spec, &session.folder, session.live())?;
        let rows = Rows::new(&session.spec, session.live().clone())?;
        Ok(Self { session, tables, rows })
    }

    /// As [`Opened::new`], for commands that make no sense before the first plan.
    pub async fn existing(context: &Context, path: &Path) -> Result<Self, Error> {
        let opened = Self::new(context, path).await?;
        if !opened.session.has_begun() {
            let control = opened.session.control.location().to_owned();
            return Err(Error::Unknown { migration: opened.session.id().clone(), control });
        }
        Ok(opened)
    }

    /// Runs `work` under the lease, if the command may run now: asked before anything is written, and again when no
    /// other runner can change the answer any more. What an earlier runner left open is settled first.
    pub async fn act<T>(
        &mut self,
        command: Command,
        evidence: impl Fn(Evidence) -> Evidence,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let before = evidence(self.evidence(command).await?);
        if self.session.admit(command, &before)? == Admission::AlreadyDone {
            return Ok(None);
        }
        self.session.lock(command).await?;
        let result = Box::pin(self.act_locked(command, evidence, work)).await;
        if let Err(error) = self.session.unlock().await {
            tracing::warn!(%error, "could not give the lease back; it ends by itself");
        }
        result
    }

    async fn act_locked<T>(
        &mut self,
        command: Command,
        evidence: impl Fn(Evidence) -> Evidence,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        commit::settle_pending(&mut self.session, &self.tables).await?;
        switch::settle_pending(&mut self.session, &self.tables).await?;
        fence::settle_pending(&mut self.session, &self.tables).await?;
        self.session.honour().await?;
        // What a runner that was killed has not told.
        hooks::tell(&mut self.session).await?;
        let now = evidence(self.evidence(command).await?);
        if self.session.admit(command, &now)? == Admission::AlreadyDone {
            return Ok(None);
        }
        hooks::ask(&self.session, command).await?;
        let result = Box::pin(work(self)).await;
        match (result, hooks::tell(&mut self.session).await) {
            (Ok(done), told) => told.map(|()| Some(done)),
            (Err(error), _) => Err(error),
        }
    }

    /// What a command's decision rests on.
    pub async fn evidence(&self, command: Command) -> Result<Evidence, Error> {
        evidence::gather(&self.session, &self.tables, command).await
    }

    /// The next steps as whole commands.
    pub fn next_steps(&self) -> Vec<String> {
        lakeshift_core::migration::next_steps(&self.session.state)
    }
}
