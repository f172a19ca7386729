//! The sockets under HTTP: they wait no longer than a limit, and wake up when the build is cancelled.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_core::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a host's name and for a connection to one of its addresses.
    pub connect: Duration,
    /// For the next byte, in either direction.
    pub stall: Duration,
}

impl Patience {
    pub const DEFAULT: Self = Self { connect: Duration::from_secs(15), stall: Duration::from_secs(60) };
}

impl Default for Patience {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A cancel without a descriptor to poll is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Makes connections for requests of equal trust: `roots` are trusted, without them Mozilla's list, which is compiled in.
/// Statuses and redirects are for the caller to judge; proxies are those of the environment.
pub(crate) fn new_agent(
    roots: Option<Vec<Certificate<'static>>>,
    patience: Patience,
    cancel: &Arc<Cancel>,
) -> Agent {
    let mut tls = TlsConfig::builder();
    if let Some(roots) = roots {
        tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(patience.connect))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_idle_connections_per_host(8)
        .tls_config(tls.build())
        .build();
    let wire = WireConnector { patience, cancel: Arc::clone(cancel) };
    let connector = ().chain(ConnectProxyConnector::default()).chain(wire).chain(RustlsConnector::default());
    Agent::with_parts(config, connector, Names::default())
}

/// Waits until `socket` (if any) is ready for `flags`, at most until `deadline`.
///
/// # Errors
///
/// `TimedOut` at the deadline, `ConnectionAborted` when the build is cancelled.
fn wait(
    socket: Option<(&TcpStream, PollFlags)>,
    deadline: Instant,
    limit: Duration,
    cancel: &Cancel,
) -> io::Result<()> {
    loop {
        if cancel.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the build was interrupted"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("nothing happened for {} seconds", limit.as_secs_f32());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let wake = cancel.wake_fd();
        let mut descriptors = Vec::with_capacity(2);
        if let Some((socket, flags)) = &socket {
            descriptors.push(PollFd::new(*socket, *flags));
        }
        if let Some(wake) = &wake {
            descriptors.push(PollFd::new(wake, PollFlags::IN));
        }
        let slice = left.min(LOOK_EVERY);
        let slice = Timespec::try_from(slice).expect("a fraction of a second fits");
        match poll(&mut descriptors, Some(&slice)) {
            Ok(0) => {}
            Ok(_) if socket.is_some() && !descriptors[0].revents().is_empty() => return Ok(()),
            // The other descriptor: whoever made it readable has raised the level, or does so now.
            Ok(_) => std::thread::yield_now(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleeps, unless the build is cancelled.
pub(crate) fn sleep(duration: Duration, cancel: &Cancel) -> io::Result<()> {
    match wait(None, Instant::now() + duration, duration, cancel) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
        other => other,
    }
}

/// Finds the addresses of hosts, with errors that tell a name that is not known from a connection that broke.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Io(source) => io::Error::new(io::ErrorKind::NotFound, source).into(),
            other => other,
        })
    }
}

/// Makes the connections; TLS is put on top of them.
#[derive(Debug)]
struct WireConnector {
    patience: Patience,
    cancel: Arc<Cancel>,
}

impl<In: Transport> Connector<In> for WireConnector {
    type Out = Either<In, Wire>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(proxied) = chained {
            return Ok(Some(Either::A(proxied)));
        }
        let deadline = Instant::now() + self.patience.connect;
        let mut last = None;
        for (at, address) in details.addrs.iter().enumerate() {
            // What is left is shared out, so that a dead first address does not use up all of it.
            let others = (details.addrs.len() - at) as u32;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.open(*address, left / others.min(2)) {
                Ok(socket) => {
                    let buffers = LazyBuffers::new(
                        details.config.input_buffer_size(),
                        details.config.output_buffer_size(),
                    );
                    let (patience, cancel) = (self.patience, Arc::clone(&self.cancel));
                    return Ok(Some(Either::B(Wire { socket, buffers, patience, cancel })));
                }
                Err(error) if self.cancel.is_cancelled() => return Err(error.into()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()).into())
    }
}

impl WireConnector {
    fn open(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let connected = rustix::net::connect(&socket, &address);
        let socket = TcpStream::from(socket);
        match connected {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => {
                wait(Some((&socket, PollFlags::OUT)), Instant::now() + limit, limit, &self.cancel)?;
                rustix::net::sockopt::socket_error(socket.as_fd())??;
            }
            Err(error) => return Err(error.into()),
        }
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

/// One connection.
#[derive(Debug)]
struct Wire {
    /// Never blocks.
    socket: TcpStream,
    buffers: LazyBuffers,
    patience: Patience,
    cancel: Arc<Cancel>,
}

impl Wire {
    /// Calls `transfer` until it does not have to wait.
    fn when_ready(
        &mut self,
        flags: PollFlags,
        timeout: NextTimeout,
        mut transfer: impl FnMut(&mut TcpStream, &mut LazyBuffers) -> io::Result<usize>,
    ) -> Result<usize, ureq::Error> {
        let limit = timeout.not_zero().map_or(self.patience.stall, |limit| (*limit).min(self.patience.stall));
        let deadline = Instant::now() + limit;
        loop {
            match transfer(&mut self.socket, &mut self.buffers) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(Some((&self.socket, flags)), deadline, limit, &self.cancel)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            if self.cancel.is_cancelled() {
                wait(None, Instant::now(), Duration::ZERO, &self.cancel)?;
            }
            let count = self.when_ready(PollFlags::OUT, timeout, |socket, buffers| {
                socket.write(&buffers.output()[sent..amount])
            })?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            sent += count;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if self.cancel.is_cancelled() {
            wait(None, Instant::now(), Duration::ZERO, &self.cancel)?;
        }
        let count = self
            .when_ready(PollFlags::IN, timeout, |socket, buffers| socket.read(buffers.input_append_buf()))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// A connection at rest on which something can be read was closed, or is out of step.
    fn is_open(&mut self) -> bool {
        let mut descriptors = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut descriptors, Some(&now)), Ok(0))
    }
}
