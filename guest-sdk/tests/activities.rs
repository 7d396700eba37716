//! `Activities` run by `testing::World`: what is known of each partner, numbers both ways, closing.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};
use keystead_sdk::{Arrival, Contact};

#[entity]
pub struct Room {
    members: Activities<Vec<String>>,
    #[state(rename = "watchers")]
    silent: Activities<()>,
}

#[handlers]
impl Room {
    /// From another entity: it is known by its address.
    pub fn say(&mut self, ctx: &Ctx, line: String) -> bool {
        let mut member = self.members.with(ctx.sender().unwrap_or_default());
        member.update(|lines| lines.push(line));
        member.is_new()
    }

    /// From outside, with numbers.
    pub fn feed(&mut self, from: String, number: u64, line: String) -> Result<String> {
        let mut member = self.members.with(&from);
        Ok(match member.accept(number) {
            Arrival::New => {
                member.update(|lines| lines.push(line));
                ensure!(number != 3 || member.get().len() > 9, code = "later", "not yet");
                format!("new, {} lines", member.get().len())
            }
            Arrival::Duplicate => "duplicate".to_owned(),
            Arrival::Gap { expected } => format!("gap, {expected} comes first"),
        })
    }

    pub fn number(&mut self, to: String) -> (u64, u64) {
        let mut member = self.members.with(to);
        (member.next(), member.sent())
    }

    pub fn look(&mut self, at: String) -> (bool, Vec<String>, Option<Timestamp>, u64, u64) {
        let one = self.members.with(&at);
        (one.is_new(), one.get().clone(), one.last_seen(), one.sent(), one.accepted())
    }

    pub fn watch(&mut self, who: String) -> bool {
        let mut watcher = self.silent.with(who);
        watcher.touch();
        watcher.is_new()
    }

    pub fn close(&mut self, who: String) -> Vec<String> {
        self.members.with(&who).close()
    }

    pub fn forget(&mut self, who: String) -> Vec<String> {
        self.members.with(&who).forget()
    }

    pub fn members(&self) -> Vec<Contact<Vec<String>>> {
        self.members.iter().collect()
    }

    pub fn last(&self) -> Option<(Partner, bool)> {
        let last = self.members.iter().next_back()?.partner;
        let known = self.members.get(&last).is_some();
        Some((last, known))
    }

    pub fn watchers(&self) -> usize {
        self.silent.iter().count()
    }
}

#[entity]
pub struct Guest {}

#[handlers]
impl Guest {
    pub fn talk(&mut self, ctx: &Ctx, line: String) {
        Room::at("r").say(line).send(ctx);
    }
}

fn room() -> World {
    World::new().with::<Room>().with::<Guest>()
}

fn members(world: &mut World) -> Vec<Contact<Vec<String>>> {
    world.read("room", "r", "members", json!({})).expect("reads")
}

fn feed(world: &mut World, number: u64) -> String {
    world.call_typed(Room::at("r").feed("feed", number, format!("line {number}"))).expect("feeds")
}

#[test]
fn each_partner_has_a_state_of_its_own() {
    let mut world = room();
    world.call_typed(Guest::at("ann").talk("hi")).expect("talks");
    world.call_typed(Guest::at("bob").talk("hello")).expect("talks");
    world.settle();
    world.advance(Duration::from_secs(60));
    world.call_typed(Guest::at("ann").talk("bye")).expect("talks");
    world.settle();
    assert!(world.call_typed(Room::at("r").say("from nobody")).expect("says"));
    feed(&mut world, 1);
    let found = members(&mut world);
    let names: Vec<_> = found.iter().map(|one| one.partner.to_string()).collect();
    assert_eq!(names, ["/", "guest/ann", "guest/bob", "feed"], "entities first");
    assert_eq!(found[1].state, ["hi", "bye"]);
    let ago: Vec<_> =
        found.iter().filter_map(|one| one.last_seen).map(|at| world.now().since(at)).collect();
    assert_eq!(ago, [0, 0, 60, 0].map(Duration::from_secs));
    assert_eq!(world.state("room", "r").len(), 4, "one key for each partner");
    let last: Option<(Partner, bool)> = world.read("room", "r", "last", json!({})).expect("reads");
    assert_eq!(last, Some(("feed".into(), true)));
}

#[test]
fn what_comes_again_is_a_duplicate_however_late() {
    let mut world = room();
    let feed = |world: &mut World, number| feed(world, number);
    assert_eq!(feed(&mut world, 2), "gap, 1 comes first");
    assert!(world.state("room", "r").is_empty(), "a gap notes nothing");
    assert_eq!(feed(&mut world, 1), "new, 1 lines");
    assert_eq!(feed(&mut world, 1), "duplicate");
    assert_eq!(feed(&mut world, 2), "new, 2 lines");
    world.advance(Duration::from_secs(10 * 365 * 86_400));
    assert_eq!(feed(&mut world, 1), "duplicate");
    assert_eq!(feed(&mut world, 0), "duplicate");
    assert_eq!(feed(&mut world, 9), "gap, 3 comes first");
    let error = world.call_typed(Room::at("r").feed("feed", 3, "x")).expect_err("not yet");
    assert_eq!(error.code(), "later");
    assert_eq!(members(&mut world)[0].accepted, 2, "a call that failed accepted nothing");
    assert_eq!(members(&mut world)[0].state, ["line 1", "line 2"]);
}

#[test]
fn outgoing_numbers_are_given_out_once() {
    let mut world = room();
    let number = |world: &mut World, to: &str| world.call_typed(Room::at("r").number(to));
    assert_eq!(number(&mut world, "a").expect("gives"), (1, 1));
    assert_eq!(number(&mut world, "a").expect("gives"), (2, 2));
    assert_eq!(number(&mut world, "b").expect("gives"), (1, 1));
    let (is_new, _, seen, sent, accepted) =
        world.call_typed(Room::at("r").look("a")).expect("looks");
    assert_eq!((is_new, seen, sent, accepted), (false, None, 2, 0), "sending is not hearing");
}

#[test]
fn closing_keeps_the_numbers_and_forgetting_does_not() {
    let mut world = room();
    feed(&mut world, 1);
    feed(&mut world, 2);
    let known = world.call_typed(Room::at("r").close("feed")).expect("closes");
    assert_eq!(known, ["line 1", "line 2"]);
    assert!(members(&mut world).is_empty());
    assert_eq!(feed(&mut world, 2), "duplicate");
    assert!(members(&mut world).is_empty(), "a duplicate opens nothing");
    let (is_new, lines, ..) = world.call_typed(Room::at("r").look("feed")).expect("looks");
    assert_eq!((is_new, lines.len()), (true, 0));
    assert_eq!(feed(&mut world, 3 - 1), "duplicate");
    world.call_typed(Room::at("r").forget("feed")).expect("forgets");
    assert!(world.state("room", "r").is_empty());
    assert_eq!(feed(&mut world, 1), "new, 1 lines");

    world.call_typed(Room::at("r").close("stranger")).expect("closes");
    assert_eq!(world.state("room", "r").len(), 1, "nothing is left of one without numbers");
}

#[test]
fn a_state_without_content_is_known_all_the_same() {
    let mut world = room();
    assert!(world.call_typed(Room::at("r").watch("w")).expect("watches"));
    assert!(!world.call_typed(Room::at("r").watch("w")).expect("watches"));
    assert_eq!(world.read::<usize>("room", "r", "watchers", json!({})).expect("reads"), 1);
    let keys: Vec<_> = world.state("room", "r").into_keys().collect();
    assert_eq!(keys, [b"a/watchers/ow"]);
}
