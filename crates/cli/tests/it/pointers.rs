//! The contract of pointers over what the engine itself moves readers by: the alias, and the user's own command. Each move is
//! the engine's own switch, by a process of its own, with journal and lease.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use lakeshift::engine::tables::Tables;
use lakeshift::engine::{readers, rehearsal, switch};
use lakeshift::error::{Error, with_causes};
use lakeshift::session::Session;
use lakeshift::stop::Stop;
use lakeshift_core::migration::{Command, Side};
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::spec::Spec;
use lakeshift_core::table::TableError;
use lakeshift_testkit::contract::{Over, PointerWorld, pointer_contract, pointer_race_contract};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore, OperationKind};
use object_store::ObjectStore;

use crate::life::before;
use crate::support::{Target, World, real_moment};

/// The command keeps the side in a file that is named like the alias, as a service of the readers' would. Files beside it
/// make it do what services do: lose an answer, be moved by somebody else meanwhile, or know nothing of such readers.
const SCRIPT: &str = r#"
at="$FOLDER/at.$LAKESHIFT_ALIAS"
[ -e "$FOLDER/gone" ] && { echo "no such readers" >&2; exit 4; }
[ -e "$at" ] || echo old > "$at"
case "$LAKESHIFT_ACTION" in
  switch)
    echo "$LAKESHIFT_SIDE" > "$at"
    [ -e "$FOLDER/race" ] && { rm "$FOLDER/race"; echo elsewhere > "$at"; }
    [ -e "$FOLDER/deaf" ] && { rm "$FOLDER/deaf"; echo "connection reset" >&2; exit 9; } ;;
  check) [ "$(cat "$at")" = "$LAKESHIFT_SIDE" ] || { echo "they are not" >&2; exit 1; } ;;
esac
exit 0
"#;

/// The readers of one alias of a migration whose tables are both there.
struct Readers {
    world: Arc<World>,
    /// Where the command keeps them; none, where readers resolve the alias.
    folder: Option<PathBuf>,
}

/// One process's view of them.
#[derive(Clone)]
struct Process {
    world: Arc<World>,
    store: Arc<dyn ObjectStore>,
    spec: String,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// Does `work` on a thread of its own, as a process would: a command's future stays where it began.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> LocalBoxFuture<'static, T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    tokio::task::spawn_blocking(run).await.unwrap()
}

impl Readers {
    async fn of_the_alias() -> Self {
        let world = World::in_memory(Target::Iceberg);
        world.live(before("backfill")).await;
        Self { world: Arc::new(world), folder: None }
    }

    async fn of_a_command() -> Self {
        let world = World::in_memory(Target::Iceberg);
        let folder = world.spec().parent().unwrap().to_owned();
        let path = world.write_file("move.sh", format!("FOLDER='{}'\n{SCRIPT}", folder.display()));
        let spec = std::fs::read_to_string(world.spec()).unwrap();
        let cutover = format!("{{alias: flights, command: [sh, {path}]}}");
        std::fs::write(world.spec(), spec.replace("{alias: flights}", &cutover)).unwrap();
        world.live(before("backfill")).await;
        Self { world: Arc::new(world), folder: Some(folder) }
    }

    fn process(&self, store: Arc<dyn ObjectStore>, spec: String) -> Arc<dyn ReaderPointer> {
        Arc::new(Process { world: self.world.clone(), store, spec })
    }

    fn spec(&self) -> String {
        std::fs::read_to_string(self.world.spec()).unwrap()
    }

    /// Leaves a file for the command.
    fn leave(&self, name: &str) {
        std::fs::write(self.folder.as_ref().unwrap().join(name), "").unwrap();
    }

    /// The pointer of somebody else, with the number after the last one.
    async fn others_pointer(&self) -> (String, String) {
        let names = self.world.list("control/aliases/flights").await;
        let last = names.iter().max().unwrap();
        let object = |name: &str| format!("control/aliases/flights/{name}");
        let text = self.world.get(&format!("{}/{}", self.world.root, object(last))).await;
        let mut pointer: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let number = pointer["number"].as_u64().unwrap() + 1;
        pointer["number"] = number.into();
        pointer["migration"] = "another".into();
        pointer["nonce"] = "of another".into();
        pointer["location"] = format!("{}/elsewhere", self.world.root).into();
        (object(&format!("{number:020}.json")), pointer.to_string())
    }
}

impl Process {
    async fn open(&self) -> Result<(Session, Tables), Error> {
        let context = self.world.context(self.store.clone(), Stop::never());
        let session = Session::open(&context, Spec::from_yaml(&self.spec, &self.world.spec())?).await?;
        let tables = Tables::open(&context, &session.spec, &session.folder, session.live())?;
        Ok((session, tables))
    }

    /// Under the lease, for which it waits; with what a killed process has left settled first.
    async fn locked(&self) -> Result<(Session, Tables), Error> {
        let (mut session, tables) = self.open().await?;
        while let Err(error) = session.lock(Command::Cutover).await {
            match error {
                Error::Held { .. } => real_moment().await,
                error => return Err(error),
            }
        }
        Ok((session, tables))
    }

    async fn moved(&self, side: Side) -> Result<(), Error> {
        let (mut session, tables) = self.locked().await?;
        let moved = async {
            switch::settle_pending(&mut session, &tables).await?;
            match self.look().await.is_ok_and(|there| there == side) {
                true => Ok(()),
                false => switch::switch(&mut session, &tables, "flights", side, false).await,
            }
        };
        let moved = moved.await;
        session.unlock().await?;
        moved
    }

    async fn rehearsed(&self, side: Side) -> Result<(), Error> {
        let (mut session, tables) = self.locked().await?;
        let rehearsed = rehearsal::step(&session, &tables, "flights", side).await;
        session.unlock().await?;
        rehearsed
    }

    /// Where the alias points, and the command says that readers are.
    async fn look(&self) -> Result<Side, Error> {
        let (session, tables) = self.open().await?;
        let alias = switch::alias(&session, "flights").resolve().await?;
        let journaled = session.state.pointers.get("flights").filter(|_| session.state.pending_switch.is_none());
        let Some(pointer) = journaled.filter(|pointer| pointer.location == alias.location) else {
            return Err(Error::AliasTaken { found: Box::new(alias) });
        };
        match readers::elsewhere(&session, &tables, pointer).await? {
            None => Ok(pointer.side),
            Some(reason) => Err(Error::ReadersNotMoved { alias: "flights".to_owned(), reason }),
        }
    }
}

fn failed(error: Error) -> TableError {
    TableError::Store { action: "move", object: "readers".to_owned(), source: with_causes(&error).into() }
}

#[async_trait]
impl ReaderPointer for Process {
    fn name(&self) -> String {
        "the readers of flights".to_owned()
    }

    async fn named(&self) -> Result<Side, TableError> {
        let process = self.clone();
        apart(move || async move { process.look().await }.boxed_local()).await.map_err(failed)
    }

    async fn point(&self, side: Side) -> Result<(), TableError> {
        let process = self.clone();
        apart(move || async move { process.moved(side).await }.boxed_local()).await.map_err(failed)
    }

    async fn rehearse(&self, side: Side) -> Result<(), TableError> {
        let process = self.clone();
        apart(move || async move { process.rehearsed(side).await }.boxed_local()).await.map_err(failed)
    }
}

#[async_trait]
impl PointerWorld for Readers {
    fn pointer(&self) -> Arc<dyn ReaderPointer> {
        self.process(self.world.store.clone(), self.spec())
    }

    async fn seen(&self) -> Option<Side> {
        let at = match &self.folder {
            Some(folder) => std::fs::read_to_string(folder.join("at.flights")).ok()?,
            None => self.world.pointers().await.pop()?,
        };
        match at.trim() {
            "old" => Some(Side::Old),
            "new" => Some(Side::New),
            at if at.ends_with("/flights\"") => Some(Side::Old),
            at if at.ends_with("/flights_iceberg\"") => Some(Side::New),
            _ => None,
        }
    }

    fn unreachable(&self) -> Option<Arc<dyn ReaderPointer>> {
        if self.folder.is_some() {
            let (start, rest) = self.spec().split_once("command: [").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            let rest = rest.split_once(']').unwrap().1.to_owned();
            return Some(self.process(self.world.store.clone(), format!("{start}command: [sh, -c, exit 3]{rest}")));
        }
        let away = |_: OperationKind, path: &object_store::path::Path| {
            let refused = path.as_ref().contains("/aliases/").then_some("not allowed");
            async move { refused }.boxed()
        };
        let store = FaultStore::new(self.world.store.clone(), FaultPlan::None).with_gate(Arc::new(away));
        Some(self.process(Arc::new(store), self.spec()))
    }

    async fn deaf(&self, side: Side) -> Option<Arc<dyn ReaderPointer>> {
        if self.folder.is_some() {
            self.leave("deaf");
            return Some(self.pointer());
        }
        // The mutation that creates the pointer, counted on a copy of the world.
        let copy = apart(|| Self::of_the_alias().boxed_local()).await;
        if side == Side::Old {
            copy.pointer().point(Side::New).await.unwrap();
        }
        let counted = Arc::new(FaultStore::new(copy.world.store.clone(), FaultPlan::None));
        copy.process(counted.clone(), copy.spec()).point(side).await.unwrap();
        let history = counted.history();
        let mutations = history.iter().filter(|operation| operation.kind.is_mutation());
        let at = mutations.take_while(|operation| !operation.path.as_ref().contains("/aliases/")).count() as u64 + 1;
        let lost = FaultStore::new(self.world.store.clone(), FaultPlan::LostResponse(at)).with_counted(Counted::Mutations);
        Some(self.process(Arc::new(lost), self.spec()))
    }

    async fn raced(&self, _side: Side) -> Option<Arc<dyn ReaderPointer>> {
        if self.folder.is_some() {
            self.leave("race");
            return Some(self.pointer());
        }
        let ((object, pointer), world) = (self.others_pointer().await, self.world.clone());
        let done = Arc::new(AtomicBool::new(false));
        let gate = move |kind: OperationKind, path: &object_store::path::Path| {
            let (object, pointer, world) = (object.clone(), pointer.clone(), world.clone());
            let first = kind == OperationKind::Put
                && path.as_ref().contains("/aliases/flights/")
                && !done.swap(true, Ordering::SeqCst);
            async move {
                if first {
                    world.put(&object, pointer).await;
                }
                None
            }
            .boxed()
        };
        let store = FaultStore::new(self.world.store.clone(), FaultPlan::None).with_gate(Arc::new(gate));
        Some(self.process(Arc::new(store), self.spec()))
    }

    async fn meddle(&self) {
        match &self.folder {
            Some(folder) => std::fs::write(folder.join("at.flights"), "elsewhere").unwrap(),
            None => {
                let (object, pointer) = self.others_pointer().await;
                self.world.put(&object, pointer).await;
            }
        }
    }

    /// The command knows best whether it may; the alias that another migration has moved is not this one's.
    fn over_meddled(&self) -> Over {
        if self.folder.is_some() { Over::Restored } else { Over::Refused }
    }

    async fn remove(&self) {
        match &self.folder {
            Some(folder) => {
                std::fs::remove_file(folder.join("at.flights")).unwrap();
                self.leave("gone");
            }
            None => {
                for name in self.world.list("control/aliases/flights").await {
                    self.world.delete(&format!("control/aliases/flights/{name}")).await;
                }
            }
        }
    }

    /// An alias without a pointer answers no reader: the next switch is what brings it back.
    fn over_removed(&self) -> Over {
        if self.folder.is_some() { Over::Refused } else { Over::Restored }
    }
}

#[tokio::test]
async fn the_alias_passes_the_contract_of_pointers() {
    pointer_contract(&Readers::of_the_alias().await).await;
    assert!(pointer_race_contract(&Readers::of_the_alias().await).await);
}

#[tokio::test]
async fn a_command_passes_the_contract_of_pointers() {
    pointer_contract(&Readers::of_a_command().await).await;
    assert!(pointer_race_contract(&Readers::of_a_command().await).await);
}

/// A number that was given once is not given again: whoever has seen it would take the new pointer for the old one.
#[tokio::test]
async fn an_alias_whose_objects_are_gone_goes_on_with_the_next_number() {
    let readers = Readers::of_the_alias().await;
    readers.pointer().point(Side::New).await.unwrap();
    readers.remove().await;
    readers.pointer().point(Side::Old).await.unwrap();
    assert_eq!(readers.world.list("control/aliases/flights").await, ["00000000000000000003.json"]);
}
