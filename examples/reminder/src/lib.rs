//! Reminders: named timers that survive restarts and fire once.

use keystead_sdk::prelude::*;

/// One person's reminders; the pending ones are the entity's timers.
#[entity]
pub struct Reminder {
    fired: List<String>,
}

#[handlers]
impl Reminder {
    /// Reminds of `text` in a while; a pending reminder of the same name is replaced.
    pub fn set(&mut self, ctx: &Ctx, name: String, text: String, in_ms: u64) {
        Reminder::timer(name).fire(text).after(Duration::from_millis(in_ms)).set(ctx);
    }

    /// Forgets a pending reminder; false when there is none.
    pub fn cancel(&mut self, ctx: &Ctx, name: String) -> bool {
        ctx.cancel_timer(&name)
    }

    /// What a timer calls when it is due.
    pub fn fire(&mut self, text: String) {
        info!("{text}");
        self.fired.push(&text);
    }

    /// The names of those to come.
    pub fn pending(&self, ctx: &QueryCtx) -> Vec<String> {
        ctx.timers().into_iter().map(|timer| timer.name).collect()
    }

    /// The texts of those that fired, oldest first.
    pub fn fired(&self) -> Vec<String> {
        self.fired.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use keystead_sdk::testing::{World, json};

    use super::*;

    #[test]
    fn fires_once_unless_cancelled() {
        let mut world = World::new().with::<Reminder>();
        for (name, text, in_ms) in [("tea", "old", 50), ("bins", "bins", 60), ("tea", "tea", 100)] {
            world.call_typed::<()>(Reminder::at("ann").set(name, text, in_ms)).unwrap();
        }
        assert!(world.call_typed::<bool>(Reminder::at("ann").cancel("bins")).unwrap());
        world.advance(Duration::from_secs(60));
        let fired: Vec<String> = world.read("reminder", "ann", "fired", json!({})).unwrap();
        assert_eq!(fired, ["tea"]);
        assert!(world.timers("reminder", "ann").is_empty());
    }
}
