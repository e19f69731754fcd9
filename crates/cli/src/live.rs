//! What an operator may change while a runner works: the limits on bytes, requests and units, and whether rows move at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::meter::{Meter, Used};
use lakeshift_core::control::{ControlEntry, Controls, Hold, Limit};
use lakeshift_core::migration::RoundCost;
use lakeshift_core::spec::Spec;
use lakeshift_exec::throttle::Throttle;
use lakeshift_journal::Clock;

/// The settings of one runner; clones share them.
#[derive(Debug, Clone)]
pub struct Live {
    bytes: Throttle,
    requests: Throttle,
    meter: Meter,
    control_meter: Meter,
    idle: Arc<Mutex<Idle>>,
    spec_rate: Option<u64>,
    spec_concurrency: u32,
    controls: Arc<Mutex<Controls>>,
}

/// Looks of a mirror that found nothing, and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idle {
    /// How many.
    pub looks: u64,
    /// What they cost, with the waits between them.
    pub cost: RoundCost,
}

impl Live {
    /// The spec's settings, and over them what was honoured so far.
    pub fn new(spec: &Spec, controls: &Controls, clock: &Arc<dyn Clock>) -> Self {
        let spec_rate = spec.backfill.bytes_per_second.map(|rate| rate.bytes());
        let bytes = Throttle::new(clock.clone(), spec_rate);
        let live = Self { bytes, spec_rate, ..Self::fixed(spec.backfill.concurrency, clock) };
        live.set(controls.clone());
        live
    }

    /// So many at once and no limit, and nobody who would change that.
    pub fn fixed(concurrency: u32, clock: &Arc<dyn Clock>) -> Self {
        Self {
            bytes: Throttle::new(clock.clone(), None),
            requests: Throttle::new(clock.clone(), None),
            meter: Meter::default(),
            control_meter: Meter::default(),
            idle: Arc::default(),
            spec_rate: None,
            spec_concurrency: concurrency,
            controls: Arc::default(),
        }
    }

    /// The same, with what is asked of the control root counted by `meter`.
    #[must_use]
    pub fn with_control_meter(self, meter: Meter) -> Self {
        Self { control_meter: meter, ..self }
    }

    /// What the runner has used until now.
    pub fn used(&self) -> Used {
        Used { tables: self.meter.usage(), control: self.control_meter.usage() }
    }

    /// Counts looks that have found nothing, which have used all since `before`.
    pub fn idled(&self, looks: u64, before: Used) {
        let cost = self.used().since(before);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.looks += looks;
        idle.cost += cost;
    }

    /// What was counted by [`Self::idled`], which begins anew.
    pub fn take_idle(&self) -> Idle {
        std::mem::take(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Honours one more request.
    pub fn apply(&self, entry: &ControlEntry) {
        let mut controls = self.lock().clone();
        controls.apply(entry);
        self.set(controls);
    }

    /// Takes over all that was honoured.
    pub fn set(&self, controls: Controls) {
        let limits = controls.limits;
        self.bytes.set_rate(limits.bytes_per_second.map_or(self.spec_rate, Limit::rate));
        self.requests.set_rate(limits.requests_per_second.and_then(Limit::rate));
        // Rows under way stand still; requests do not, so that a commit under way comes to its end.
        self.bytes.set_closed(controls.paused.is_some());
        *self.lock() = controls;
    }

    /// The number of the last request that is honoured.
    pub fn last(&self) -> u64 {
        self.lock().last
    }

    /// Who has paused the migration.
    pub fn paused(&self) -> Option<Hold> {
        self.lock().paused.clone()
    }

    /// Units that run, or files of a side that are compared, at once.
    pub fn concurrency(&self) -> u32 {
        self.lock().limits.concurrency.unwrap_or(self.spec_concurrency).max(1)
    }

    /// Paces rows, by the source's bytes.
    pub fn bytes(&self) -> &Throttle {
        &self.bytes
    }

    /// Counts requests to the tables' stores, and their bytes.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Paces requests to the tables' stores.
    pub fn requests(&self) -> &Throttle {
        &self.requests
    }

    fn lock(&self) -> MutexGuard<'_, Controls> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
