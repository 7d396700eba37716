//! One thread that drives many keep-alive connections, one request at a time on each. It shares the machine
//! with the host it measures, so it does no more than two system calls for a request; that is why it is not
//! hyper's client. Invariant: every request that was sent is counted once, or the drive fails.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::now;
use super::pace::Schedule;
use super::tally::Tally;
use super::wire::{self, Head};
use super::workload::Script;
use crate::limits;

/// What one driver does.
pub(super) struct Load {
    pub(super) addr: SocketAddr,
    pub(super) connections: usize,
    pub(super) script: Script,
    /// An open loop's times; `None` is a closed loop.
    pub(super) schedule: Option<Schedule>,
    /// When no further request is sent.
    pub(super) end: End,
    /// Set from outside to give up.
    pub(super) stop: Arc<AtomicBool>,
}

/// When a driver ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// After this time.
    After(Duration),
    /// After this many successful answers.
    Answers(u64),
}

/// Drives until the end and gives what was counted.
pub(super) fn drive(load: Load) -> anyhow::Result<Tally> {
    let mut driver = Driver::new(load)?;
    driver.run()?;
    Ok(driver.tally)
}

struct Driver {
    load: Load,
    poll: Poll,
    connections: Vec<Connection>,
    /// Those without an open request.
    idle: Vec<usize>,
    tally: Tally,
    start: Instant,
    /// Requests sent that count toward [`End::Answers`].
    wanted: u64,
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    buffer: Vec<u8>,
    filled: usize,
    /// Where the open request's latency counts from; `None` when there is none.
    asked: Option<Duration>,
}

const WAKER: Token = Token(usize::MAX);

impl Driver {
    fn new(load: Load) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            connections.push(Connection::open(load.addr, &poll, index)?);
        }
        let idle = (0..load.connections).rev().collect();
        Ok(Self { load, poll, connections, idle, tally: Tally::new(), start: now(), wanted: 0 })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(limits::BENCH_CONNECTIONS_MAX);
        self.start = now();
        let metronome = self.load.schedule.clone().map(|schedule| {
            let waker = Waker::new(self.poll.registry(), WAKER)?;
            io::Result::Ok(Metronome::start(schedule, waker, self.start))
        });
        let _metronome = metronome.transpose()?;
        while !self.ended() {
            self.ask()?;
            self.wait(&mut events)?;
        }
        if matches!(self.load.end, End::After(_)) {
            self.tally.elapsed = self.end_time();
            self.count_unsent();
        }
        // What is open is waited for, so that it is not cut off at the host; it does not count.
        let patience = now() + limits::CALL_WAIT_MAX;
        while self.idle.len() < self.connections.len() && !self.stopped() && now() < patience {
            self.wait(&mut events)?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.load.stop.load(Ordering::Relaxed)
    }

    fn end_time(&self) -> Duration {
        match self.load.end {
            End::After(time) => time,
            End::Answers(_) => Duration::MAX,
        }
    }

    fn ended(&self) -> bool {
        let done = match self.load.end {
            End::After(time) => self.start.elapsed() >= time,
            End::Answers(answers) => self.tally.answers >= answers,
        };
        done || self.stopped()
    }

    /// Sends what is due on the connections that are free.
    fn ask(&mut self) -> anyhow::Result<()> {
        while let Some(&index) = self.idle.last() {
            let at = self.start.elapsed();
            let asked = match (&mut self.load.schedule, self.load.end) {
                (_, End::Answers(answers)) if self.wanted >= answers => break,
                (Some(schedule), _) => schedule.take(at),
                (None, _) => Some(at),
            };
            let Some(asked) = asked else { break };
            self.wanted += 1;
            self.idle.pop();
            let connection = &mut self.connections[index];
            self.load.script.write(&mut connection.out);
            connection.asked = Some(asked);
            connection.sent = 0;
            connection.send().context("the host closed a connection")?;
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> anyhow::Result<()> {
        match self.poll.poll(events, Some(limits::BENCH_TICK)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let index = event.token().0;
            if event.is_writable() {
                self.connections[index].send().context("the host closed a connection")?;
            }
            if event.is_readable() {
                self.receive(index)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> anyhow::Result<()> {
        let end = self.end_time();
        let connection = &mut self.connections[index];
        let Some(head) = connection.receive()? else { return Ok(()) };
        let at = self.start.elapsed();
        let Some(asked) = connection.asked.take() else { bail!("an answer that nobody asked for") };
        ensure!(connection.filled == head.bytes(), "more than one answer to a request");
        if at >= end {
            // Too late to count.
        } else if head.is_success() {
            self.tally.answered(at.saturating_sub(asked), at);
            self.tally.elapsed = at;
        } else {
            let body = &connection.buffer[head.head_bytes..connection.filled];
            self.tally.not_answered(head.status, body);
            self.wanted -= 1;
        }
        connection.filled = 0;
        if head.closes {
            self.connections[index] = Connection::open(self.load.addr, &self.poll, index)?;
        }
        self.idle.push(index);
        Ok(())
    }

    /// Requests that were due and found no free connection have waited until now.
    fn count_unsent(&mut self) {
        let end = self.end_time();
        let Some(schedule) = &mut self.load.schedule else { return };
        let open = self.connections.iter().filter_map(|connection| connection.asked);
        for asked in open {
            self.tally.latencies.saturating_record((end - asked.min(end)).as_nanos() as u64);
        }
        while let Some(due) = schedule.take(end).filter(|_| self.idle.is_empty()) {
            self.tally.never_sent(end - due);
        }
    }
}

impl Connection {
    fn open(addr: SocketAddr, poll: &Poll, index: usize) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect_timeout(&addr, limits::HEAD_TIME_MAX)
            .with_context(|| format!("{addr} takes no connection"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        let buffer = vec![0; limits::BENCH_HEAD_BYTES_MAX];
        Ok(Self { stream, out: vec![], sent: 0, buffer, filled: 0, asked: None })
    }

    /// Sends what the kernel takes; a writable event calls again for the rest.
    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what came; the head once the whole answer is there.
    fn receive(&mut self) -> anyhow::Result<Option<Head>> {
        loop {
            if self.filled == self.buffer.len() {
                ensure!(self.filled < limits::CLIENT_BODY_BYTES_MAX, "an answer without an end");
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => bail!("the host closed a connection"),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a connection broke"),
            }
            // With the whole answer here nothing more comes before the next request, so the read that would
            // find nothing is saved.
            let head = wire::head(&self.buffer[..self.filled])?;
            if let Some(head) = head.filter(|head| self.filled >= head.bytes()) {
                return Ok(Some(head));
            }
        }
    }
}

/// Wakes a driver when a request is due: a poll's own timeout is rounded up to milliseconds.
struct Metronome {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Metronome {
    fn start(mut schedule: Schedule, waker: Waker, start: Instant) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let wait = schedule.due().saturating_sub(start.elapsed());
                std::thread::park_timeout(wait.min(limits::BENCH_TICK));
                let mut due = false;
                while schedule.take(start.elapsed()).is_some() {
                    due = true;
                }
                if due && waker.wake().is_err() {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Metronome {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only sleeps and wakes: there is nothing to learn from how it ended.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;
    use crate::bench::workload::Workload;

    /// Serves `statuses` in turn, over and over, on every connection.
    fn server(statuses: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("accepted");
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines();
                    for status in statuses.iter().cycle() {
                        while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                        // In two parts, as a network may bring it.
                        let (one, two) = answer.split_at(20);
                        for part in [one, two] {
                            if stream.write_all(part.as_bytes()).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        addr
    }

    fn load(addr: SocketAddr, end: End, schedule: Option<Schedule>) -> Load {
        let script = Script::new(Workload::Read, 10, 1);
        Load { addr, connections: 3, script, schedule, end, stop: Arc::default() }
    }

    #[test]
    fn every_answer_is_counted_once() {
        let addr = server(&["200 OK", "200 OK", "503 Service Unavailable", "422 No"]);
        let tally = drive(load(addr, End::Answers(100), None)).expect("drives");
        assert_eq!((tally.answers, tally.latencies.len()), (100, 100));
        assert_eq!(tally.ticks.iter().sum::<u64>(), 100);
        assert!(tally.refused > 20 && tally.failed > 20, "{} {}", tally.refused, tally.failed);
        assert_eq!(tally.first_failure.as_deref(), Some("422 ok"));
    }

    #[test]
    fn an_open_loop_keeps_its_rate() {
        let addr = server(&["200 OK"]);
        let time = Duration::from_millis(500);
        let schedule = Schedule::new(200.0, 0, 1);
        let tally = drive(load(addr, End::After(time), Some(schedule))).expect("drives");
        // 100 are due. A machine that stalls leaves some on their way at the end; none comes before its time.
        assert!((30..=101).contains(&tally.latencies.len()), "{}", tally.latencies.len());
        assert_eq!(tally.elapsed, time);
    }

    #[test]
    fn a_server_that_hangs_up_fails_the_drive() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || drop(listener.incoming().take(3).collect::<Vec<_>>()));
        let error = drive(load(addr, End::Answers(1), None)).expect_err("closed");
        let text = format!("{error:#}");
        assert!(text.contains("closed") || text.contains("broke"), "{text}");
    }
}
