//! How wasmtime is set up: which proposals guests may use, how much each instance may hold, and the pool that
//! instances come from. Invariant: host and compiling child build the same code settings from one [`Space`],
//! or what the child compiles would not load.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
};

use crate::limits;

/// How much address space there is to reserve for each linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// 4 GiB a memory: loads and stores need no bounds check.
    Wide,
    /// Only what a guest may use, with bounds checks: for processes under a small `RLIMIT_AS`.
    Narrow,
}

impl Space {
    /// One byte for the compiling child.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Wide => b'w',
            Self::Narrow => b'n',
        }
    }

    /// Reads [`Space::tag`] back.
    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        [Self::Wide, Self::Narrow].into_iter().find(|space| space.tag() == tag)
    }
}

/// The engine that runs guests: from a pool of `workers` times the instances one worker may hold; without a
/// pool, and with a warning, when the address space does not suffice for it.
pub(super) fn running_engine(workers: usize) -> wasmtime::Result<(Engine, Space)> {
    let mut config = code_config(Space::Wide);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(workers)));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, Space::Wide)),
        Err(error) => {
            tracing::warn!(
                error = %format!("{error:#}"),
                "no address space for a pool of instances; each call maps its own memory, which is slower"
            );
            Ok((Engine::new(&code_config(Space::Narrow))?, Space::Narrow))
        }
    }
}

/// The engine that only compiles: the same code, no pool.
pub(super) fn compiling_engine(space: Space) -> wasmtime::Result<Engine> {
    Engine::new(&code_config(space))
}

/// Everything that shapes compiled code. Whatever our guests do not need is off: each proposal is attack
/// surface, and most of wasmtime's advisories are in the ones turned off here.
fn code_config(space: Space) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(limits::GUEST_STACK_BYTES_MAX)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(limits::TRAP_FRAMES_MAX))
        .wasm_component_model(true)
        .wasm_threads(false)
        .wasm_shared_everything_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_stack_switching(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .gc_support(false);
    if space == Space::Narrow {
        config
            .memory_reservation(limits::GUEST_MEMORY_BYTES_MAX as u64)
            .memory_reservation_for_growth(0)
            .memory_guard_size(64 * 1024)
            .guard_before_linear_memory(false);
    }
    config
}

/// Sized so that no call can fail for want of a slot: each worker holds its warm instances and one fresh one,
/// and one instance more is being described.
fn pool(workers: usize) -> PoolingAllocationConfig {
    let per_worker = limits::WARM_INSTANCES_PER_WORKER_MAX + 1;
    let instances = u32::try_from(workers.max(1) * per_worker + 1).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(limits::GUEST_CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(limits::GUEST_MEMORIES_MAX))
        .total_tables(instances.saturating_mul(limits::GUEST_TABLES_MAX))
        .max_core_instances_per_component(limits::GUEST_CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::GUEST_MEMORIES_MAX)
        .max_tables_per_component(limits::GUEST_TABLES_MAX)
        .max_tables_per_module(limits::GUEST_TABLES_MAX)
        .max_memories_per_module(1)
        .max_memory_size(limits::GUEST_MEMORY_BYTES_MAX)
        .table_elements(limits::GUEST_TABLE_ELEMENTS_MAX)
        .max_component_instance_size(limits::GUEST_INSTANCE_BYTES_MAX)
        .max_core_instance_size(limits::GUEST_INSTANCE_BYTES_MAX)
        .max_unused_warm_slots(instances)
        .linear_memory_keep_resident(limits::GUEST_MEMORY_KEEP_BYTES)
        .table_keep_resident(limits::GUEST_TABLE_KEEP_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back() {
        for space in [Space::Wide, Space::Narrow] {
            assert_eq!(Space::from_tag(space.tag()), Some(space));
        }
        assert_eq!(Space::from_tag(0), None);
    }

    /// What a child compiles must load in the host, pool or not.
    #[test]
    fn compiling_and_running_engines_agree() {
        let (running, space) = running_engine(1).expect("engine");
        let compiling = compiling_engine(space).expect("engine");
        let hash = |engine: &Engine| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&running), hash(&compiling));
    }
}
