//! A UDP DNS responder with an exact capacity: each worker serves one query per service time, in the order of arrival;
//! what does not fit into the socket's buffer is dropped by the kernel, as with any real server.

use std::{
    io::BufRead,
    net::{SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::time::TimeSpec,
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::answer;

/// A responder.
#[derive(Debug, Clone, clap::Args)]
pub struct Responder {
    /// Address and port to serve; the address need not exist yet.
    #[arg(long)]
    pub bind: SocketAddrV6,
    /// Time one worker needs for one query, in microseconds; `service-time-us N` on standard input changes it.
    #[arg(long, default_value_t = 1000)]
    pub service_time_us: u64,
    /// Workers on the one socket.
    #[arg(long, default_value_t = 1)]
    pub workers: u16,
    /// Receive buffer in bytes, as given to SO_RCVBUF; the kernel doubles it.
    #[arg(long)]
    pub rcvbuf: Option<usize>,
    /// The name it answers with.
    #[arg(long)]
    pub name: String,
}

impl Responder {
    /// Serves until standard input says `quit` or a worker fails.
    pub fn run(&self) -> Result<()> {
        let socket = self.open()?;
        let service = Arc::new(AtomicU64::new(self.service_time_us));
        for _ in 0..self.workers {
            let (socket, service, name) = (socket.try_clone()?, Arc::clone(&service), self.name.clone());
            thread::spawn(move || {
                if let Err(error) = work(&socket, &service, &name) {
                    eprintln!("a worker failed: {error:#}");
                    std::process::exit(1);
                }
            });
        }
        println!("serving {} as {}", self.bind, self.name);
        for line in std::io::stdin().lock().lines() {
            let line = line.context("reading standard input")?;
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["service-time-us", number] => match number.parse() {
                    Ok(number) => {
                        service.store(number, Ordering::Relaxed);
                        println!("service time {number} us");
                    }
                    Err(error) => eprintln!("{line}: {error}"),
                },
                ["quit"] => return Ok(()),
                _ => eprintln!("not understood: {line}; service-time-us N, or quit"),
            }
        }
        // Standard input is closed: nobody will steer any more, but the service goes on.
        loop {
            thread::park();
        }
    }

    fn open(&self) -> Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).context("opening a socket")?;
        // The anycast address comes and goes with the advertisement; the service is bound to it all the time.
        socket.set_freebind_v6(true).context("allowing an address that does not exist yet")?;
        if let Some(bytes) = self.rcvbuf {
            socket.set_recv_buffer_size(bytes).context("sizing the receive buffer")?;
        }
        socket.bind(&SocketAddr::V6(self.bind).into()).with_context(|| format!("binding {}", self.bind))?;
        Ok(socket.into())
    }
}

/// One worker: a query is finished one service time after its predecessor, or after its arrival if the worker was idle.
fn work(socket: &UdpSocket, service: &AtomicU64, name: &str) -> Result<()> {
    let mut buffer = [0; 1500];
    let mut free_at = now()?;
    loop {
        // Under a backlog the next query starts when its predecessor was due, however late this thread woke up.
        let backlog = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0;
        let (length, client) = socket.recv_from(&mut buffer).context("receiving")?;
        let start = if backlog { free_at } else { free_at.max(now()?) };
        free_at = start + Duration::from_micros(service.load(Ordering::Relaxed));
        let reply = answer(buffer.get(..length).unwrap_or_default(), name);
        sleep_until(free_at)?;
        if let Ok(reply) = reply {
            // The client or the route to it may have gone: no reason to stop.
            let _ = socket.send_to(&reply, client);
        }
    }
}

/// CLOCK_MONOTONIC as a duration: absolute sleeps do not accumulate their delays.
fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

fn sleep_until(time: Duration) -> Result<()> {
    loop {
        match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &TimeSpec::from(time)) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
