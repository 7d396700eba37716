//! One executor thread's guests: a few warm instances, each one app's and one version's alone. Invariant: an
//! instance that trapped, ran its number of calls or grew too large never runs again, and none ever serves
//! another app, not even one that deployed the same bytes.

use super::instance::Instance;
use super::{Call, Engine, EntityIo, Guest, Isolation, Outcome};
use crate::ids::VersionId;
use crate::limits;

/// One executor thread's guests: its warm instances.
pub struct Worker {
    engine: Engine,
    /// The least recently used first.
    warm: Vec<Warm>,
}

struct Warm {
    app: String,
    version: VersionId,
    instance: Instance,
}

impl Worker {
    /// A worker without warm instances.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone(), warm: Vec::new() }
    }

    /// Makes one call and gives `io` back with what the guest did to it, however the call ended. The guest
    /// must have been prepared by this worker's engine.
    pub fn run(
        &mut self,
        guest: &Guest,
        call: Call<'_>,
        io: Box<dyn EntityIo>,
    ) -> (Outcome, Box<dyn EntityIo>) {
        let mut warm = match call.isolation {
            Isolation::App => self.take_warm(guest, &call, io.entity().app()),
            Isolation::Invocation => None,
        };
        let mut fresh = None;
        let instance = match &mut warm {
            Some(warm) => &mut warm.instance,
            None => {
                let (engine, clock) = (self.engine.wasmtime(), self.engine.clock());
                fresh.insert(Instance::new(engine, clock, call.memory_bytes_max))
            }
        };
        let (outcome, io) = instance.handle(guest.pre(), self.engine.ticker(), &call, io);
        if call.isolation == Isolation::App && instance.is_reusable() {
            let app = || io.entity().app().to_owned();
            let keep = |instance| Warm { app: app(), version: guest.version(), instance };
            self.warm.extend(warm.or_else(|| fresh.map(keep)));
            self.trim();
        }
        (outcome, io)
    }

    fn take_warm(&mut self, guest: &Guest, call: &Call<'_>, app: &str) -> Option<Warm> {
        let version = guest.version();
        let at = self.warm.iter().rposition(|warm| warm.version == version && warm.app == app)?;
        let warm = self.warm.remove(at);
        // The app's limit may have been lowered since.
        (warm.instance.memory_bytes() <= call.memory_bytes_max).then_some(warm)
    }

    /// Drops the least recently used until the others are within the worker's limits.
    fn trim(&mut self) {
        let mut bytes: usize = self.warm.iter().map(|warm| warm.instance.memory_bytes()).sum();
        while self.warm.len() > limits::WARM_INSTANCES_PER_WORKER_MAX
            || bytes > limits::WARM_BYTES_PER_WORKER_MAX
        {
            bytes -= self.warm.remove(0).instance.memory_bytes();
        }
    }
}
