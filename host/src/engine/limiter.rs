//! Holds one instance to its memory: one total over all its linear memories and tables, as a typed error
//! that ends the call. wasmtime's own limits are for each memory alone.

use wasmtime::ResourceLimiter;

use crate::limits;

/// Host bytes of one table element.
const TABLE_ELEMENT_BYTES: usize = 16;

/// What an instance uses and may use.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Bytes of all memories and tables.
    pub(super) used: usize,
    /// Bytes they may have in this call.
    pub(super) max: usize,
}

/// The guest wanted more than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the guest needs more memory than its limit of {0} bytes")]
pub(super) struct OutOfMemory(pub(super) u64);

impl Limiter {
    pub(super) fn new(max: usize) -> Self {
        Self { used: 0, max }
    }

    fn grow(&mut self, more: usize) -> wasmtime::Result<bool> {
        match self.used.checked_add(more) {
            Some(used) if used <= self.max => {
                self.used = used;
                Ok(true)
            }
            _ => Err(OutOfMemory(self.max as u64).into()),
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(OutOfMemory(self.max as u64).into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > limits::GUEST_TABLE_ELEMENTS_MAX {
            return Err(OutOfMemory(self.max as u64).into());
        }
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(OutOfMemory(self.max as u64).into())
    }

    fn instances(&self) -> usize {
        limits::GUEST_CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        limits::GUEST_TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        limits::GUEST_MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_total() {
        let mut limiter = Limiter::new(100_000);
        assert!(limiter.memory_growing(0, 65_536, None).expect("fits"));
        assert!(limiter.table_growing(0, 2_000, None).expect("fits"));
        let error = limiter.table_growing(2_000, 3_000, None).expect_err("too much");
        assert_eq!(error.downcast_ref::<OutOfMemory>().expect("typed").0, 100_000);
        assert_eq!(limiter.used, 65_536 + 32_000, "a refused growth counts for nothing");
    }
}
