//! Rooms that know how far each member has come: what a member's phone repeats is said once, and each member
//! reads on where it stopped.

use keystead_sdk::Arrival;
use keystead_sdk::prelude::*;

/// What a room knows of one member.
#[data]
#[derive(Default)]
pub struct Member {
    read: u64,
}

/// One room; its key is its name.
#[entity]
pub struct Room {
    lines: List<(String, String)>,
    members: Activities<Member>,
}

#[handlers]
impl Room {
    /// Says something. The phone counts what it says and repeats it until it is answered with the number
    /// of lines.
    pub fn say(&mut self, who: String, number: u64, line: String) -> Result<u64> {
        match self.members.with(&*who).accept(number) {
            Arrival::New => self.lines.push(&(who, line)),
            Arrival::Duplicate => {}
            Arrival::Gap { expected } => reject!(code = "gap", "number {expected} comes first"),
        }
        Ok(self.lines.len())
    }

    /// The lines that are new to a member, which count as read from now on.
    pub fn catch_up(&mut self, who: String) -> Vec<(String, String)> {
        let (lines, len) = (&self.lines, self.lines.len());
        let mut member = self.members.with(&*who);
        let new = lines.iter_from(member.get().read).collect();
        member.update(|member| member.read = len);
        new
    }

    /// Leaves the room; what is repeated later still counts as said.
    pub fn leave(&mut self, who: String) {
        self.members.with(&*who).close();
    }

    /// Who is here, and how much each has read.
    pub fn members(&self) -> Vec<(String, u64)> {
        self.members.iter().map(|known| (known.partner.to_string(), known.state.read)).collect()
    }
}

#[cfg(test)]
mod tests {
    use keystead_sdk::testing::World;

    use super::*;

    #[test]
    fn a_line_is_said_once_and_read_once() {
        World::explore(0..100, |world| {
            let mut world = world.with::<Room>();
            for (number, line) in [(1, "hello"), (2, "anybody?")] {
                // Without a key: the answer may be lost and the request come twice.
                world.call_typed(Room::at("hall").say("ann", number, line)).unwrap();
            }
            let lines = world.keyed("read").call_typed(Room::at("hall").catch_up("bob")).unwrap();
            assert_eq!(lines.len(), 2);
            world.call_typed(Room::at("hall").say("ann", 4, "?")).unwrap_err();
            world.call_typed(Room::at("hall").leave("ann")).unwrap();
            let members = world.inspect::<Room, _>("hall", Room::members);
            assert_eq!(members, [("bob".to_owned(), 2)]);
        });
    }
}
