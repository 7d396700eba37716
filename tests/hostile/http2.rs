//! HTTP/2 by hand: frames that a client may send and should not, as many as it can. The connection may end for it;
//! nothing else may.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Guest, Host};
use crate::watch::{Neighbour, P99_MAX, Process, assert_no_panic, closes_down_to, settles_below};
use crate::wire::Wire;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Time without a word in which a connection would be ended.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// What one flood may make the host hold, in MiB.
const PEAK_MIB_MAX: u64 = 128;
const REST_MIB_MAX: u64 = 64;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET` or `POST` of a path, in HPACK without its table.
fn head(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block
}

fn get() -> Vec<u8> {
    head(0x82, "/v1/read/app/probe/a/count")
}

fn post() -> Vec<u8> {
    head(0x83, "/v1/call/app/probe/a/bump")
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

fn opened() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A flood: its name, and all that is said after the connection is open.
type Flood = (&'static str, fn() -> Vec<u8>);

const FLOODS: [Flood; 16] = [
    ("streams that are reset at once", || {
        let one = |stream| {
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
            [head, frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
        };
        streams(50_000).flat_map(one).collect()
    }),
    ("streams that the host must reset", || {
        // A window of nothing more is an error of each stream.
        let one = |stream| {
            let head = frame(HEADERS, END_HEADERS, stream, &post());
            [head, frame(WINDOW, 0, stream, &0_u32.to_be_bytes())].concat()
        };
        streams(20_000).flat_map(one).collect()
    }),
    ("more streams than there may be", || {
        streams(10_000).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &post())).collect()
    }),
    ("settings", || frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100_000)),
    ("settings of six thousand values", || {
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100].repeat(2_700)).repeat(100)
    }),
    ("pings", || frame(PING, 0, 0, &[0; 8]).repeat(100_000)),
    ("priorities", || {
        streams(50_000).flat_map(|stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1])).collect()
    }),
    ("windows that overflow", || frame(WINDOW, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(1_000)),
    ("heads that go on", || {
        let mut bytes = frame(HEADERS, 0, 1, &get());
        for _ in 0..20_000 {
            bytes.extend(frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"));
        }
        bytes
    }),
    ("heads that go on with nothing", || {
        let mut bytes = frame(HEADERS, 0, 1, &get());
        bytes.extend(frame(CONTINUATION, 0, 1, b"").repeat(100_000));
        bytes
    }),
    ("a head that grows as it is read", || {
        // Three thousand bytes in the table, then a byte for each time that they are meant.
        let mut block = get();
        block.extend(b"\x40\x01x\x7f\xb9\x16");
        block.extend([b'y'; 3_000]);
        block.extend([0xbe; 12_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block).repeat(1)
    }),
    ("data of nothing", || {
        let mut bytes = frame(HEADERS, END_HEADERS, 1, &post());
        bytes.extend(frame(DATA, 0, 1, b"").repeat(100_000));
        bytes
    }),
    ("data that nobody asked for", || frame(DATA, 0, 1, &[b'x'; 16_000]).repeat(100)),
    ("a frame over its size", || frame(DATA, 0, 1, &[b'x'; 1 << 20])),
    ("promises", || frame(PUSH, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]).repeat(1_000)),
    ("frames of no kind", || frame(0xbe, 0xff, 0, &[7; 1_000]).repeat(5_000)),
];

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_cost_their_connection_at_most() {
    let host = Host::with(Guest::Hostile, "app").await;
    Neighbour::settle(&host).await;
    host.client().call("app/probe/a", "bump", json!({})).ok().await;
    let process = Process::of(&host);
    let (base_mib, base_files) = (process.memory_mib(), process.open_files());
    for (name, flood) in FLOODS {
        let neighbour = Neighbour::start(host.client());
        process.forget_peak();
        let mut wires = Vec::new();
        for _ in 0..4 {
            let mut wire = Wire::to(&host.addresses().ingress).await;
            let taken = wire.say(&[opened(), flood()].concat()).await;
            wires.push((wire, taken));
        }
        let mut hearing = JoinSet::new();
        for (mut wire, taken) in wires {
            hearing.spawn(async move {
                let heard = wire.hear(PATIENCE, is_goodbye).await;
                (wire, is_goodbye(&heard) || !taken)
            });
        }
        let wires = hearing.join_all().await;
        let ended = wires.iter().filter(|(_, ended)| *ended).count();
        let peak_mib = process.peak_mib();
        let (count, p99) = neighbour.stop().await;
        println!("{name}: {ended} of 4 ended; {peak_mib} MiB; {count} neighbourly, {p99:?}");
        assert!(peak_mib < base_mib + PEAK_MIB_MAX, "{name}: {peak_mib} MiB from {base_mib}");
        assert!(p99 < P99_MAX, "{name}: the neighbour's p99 is {p99:?}");
        drop(wires);
        closes_down_to(process, base_files + 4).await;
    }
    settles_below(process, base_mib + REST_MIB_MAX).await;
    assert_no_panic(&host);
}

/// Whether the host has said that it ends the connection.
fn is_goodbye(heard: &[u8]) -> bool {
    const GOODBYE: u8 = 7;
    let mut rest = heard;
    while let Some((head, after)) = rest.split_at_checked(9) {
        if head[3] == GOODBYE {
            return true;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(next) = after.get(length..) else { return false };
        rest = next;
    }
    false
}
