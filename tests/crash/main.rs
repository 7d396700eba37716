//! Real crashes: the real binary under the load of many clients, who write down what they asked and heard, while
//! it is killed and its disk fails. Then what they wrote down must have one order for each entity, and all
//! that was promised must hold.

#[path = "../harness/mod.rs"]
mod harness;

mod book;
mod cell;
mod deploys;
mod history;
mod load;
mod nemesis;
mod scenarios;
mod soak;
mod world;
