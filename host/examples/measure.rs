//! Temporary.
use std::time::Instant;
use keystead::ids::EntityRef;
use keystead::journal::Mark;
use keystead::record::keys;
use keystead::state::{StateFile, Table};
fn main() {
    let folder = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let n: u64 = 1_000_000;
    std::fs::create_dir_all(&folder).unwrap();
    let name = |i: u64| EntityRef::new("bench", "counter", &format!("k{i}")).unwrap();
    if !folder.join("state.redb").exists() {
        let t = Instant::now();
        let file = StateFile::open(&folder).unwrap();
        let mut order: Vec<Vec<u8>> = (0..n).map(|i| keys::entity_prefix(&name(i))).collect();
        order.sort();
        for part in order.chunks(100_000) {
            file.write(Mark::default(), |w| {
                for p in part {
                    w.put(Table::Rows, &keys::meta(p.clone()), Some(&[2, 1]))?;
                    w.put(Table::Rows, &keys::row(p, b"self"), Some(&[7; 24]))?;
                }
                Ok(())
            }).unwrap();
        }
        println!("fill {:?}", t.elapsed());
    }
    for f in ["state.redb", "state.sums"] {
        println!("{f} {} MiB", std::fs::metadata(folder.join(f)).map(|m| m.len() as f64 / 1048576.0).unwrap_or(0.0));
    }
    let mut x: u64 = 88172645463325252;
    let mut rnd = move || { x ^= x << 13; x ^= x >> 7; x ^= x << 17; x };
    for round in 0..3 {
        let t = Instant::now();
        let file = StateFile::open(&folder).unwrap();
        let snap = file.snapshot().unwrap();
        println!("open {:?}", t.elapsed());
        let keyset: Vec<_> = (0..200_000).map(|_| keys::row(&keys::entity_prefix(&name(rnd() % n)), b"self")).collect();
        let t = Instant::now();
        for k in &keyset { assert!(snap.get(Table::Rows, k).unwrap().is_some()); }
        println!("round {round}: cold random reads {:?} each", t.elapsed() / 200_000);
        let t = Instant::now();
        for k in &keyset { assert!(snap.get(Table::Rows, k).unwrap().is_some()); }
        println!("round {round}: warm reads {:?} each", t.elapsed() / 200_000);
        let t = Instant::now();
        drop(snap);
        file.write(Mark::default(), |w| {
            for k in &keyset[..50_000] { w.put(Table::Rows, k, Some(&[8; 24]))?; }
            Ok(())
        }).unwrap();
        println!("round {round}: checkpoint of 50 000 random rows {:?}", t.elapsed());
    }
    let t = Instant::now();
    std::fs::rename(folder.join("state.sums"), folder.join("aside")).ok();
    drop(StateFile::open(&folder).unwrap());
    println!("first open without checksums {:?}", t.elapsed());
    let t = Instant::now();
    println!("whole check by sums: {:?} in {:?}", keystead::storage::differing(&folder.join("state.redb"), 9).unwrap().0.len(), t.elapsed());
}
