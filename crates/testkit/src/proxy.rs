//! [`CutProxy`]: stands between a client and a server, and loses one response, or all of them for a while.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A needle that no request has.
const NEVER: &str = "\u{0}never\u{0}never\u{0}";
/// Bytes that are carried at once.
const BUFFER: usize = 64 * 1024;

/// A TCP proxy on a free loopback port. It ends when this value is dropped.
///
/// The first request that holds the needle reaches the server and takes effect there; then the connection is cut before a
/// byte of the answer comes back. All else goes through, but for while it is severed.
#[derive(Debug)]
pub struct CutProxy {
    port: u16,
    cut: Arc<AtomicBool>,
    severed: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl CutProxy {
    /// A proxy before the server on a loopback port. The needle must stand within one request.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: u16, needle: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let cut = Arc::new(AtomicBool::new(false));
        let told = cut.clone();
        let (severed, watched) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (cut, severed) = (told.clone(), watched.clone());
                // A connection that fails ends for both sides, as it would without a proxy.
                tokio::spawn(async move { carry(client, server, needle, &cut, severed).await.ok() });
            }
        });
        Ok(Self { port, cut, severed, task })
    }

    /// As [`CutProxy::start`], and loses no response by itself.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start_sound(server: u16) -> io::Result<Self> {
        Self::start(server, NEVER).await
    }

    /// From here on no byte goes either way, and connections stay, as on a network that is broken.
    pub fn sever(&self) {
        self.severed.send_replace(true);
    }

    /// From here on bytes go both ways again.
    pub fn mend(&self) {
        self.severed.send_replace(false);
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a response was lost. A scenario that never comes there has tested nothing.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    server: u16,
    needle: &str,
    cut: &AtomicBool,
    mut severed: watch::Receiver<bool>,
) -> io::Result<()> {
    let whole = async |severed: &mut watch::Receiver<bool>| severed.wait_for(|severed| !severed).await.map(|_| ());
    whole(&mut severed).await.map_err(io::Error::other)?;
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    let (mut sent, mut answered) = (vec![0; BUFFER], vec![0; BUFFER]);
    // The end of what went before, in which a needle may begin.
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            biased;
            changed = severed.changed() => {
                changed.map_err(io::Error::other)?;
                whole(&mut severed).await.map_err(io::Error::other)?;
            }
            count = client.read(&mut sent) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                upstream.write_all(&sent[..count]).await?;
                seen.extend_from_slice(&sent[..count]);
                let found = seen.windows(needle.len()).any(|window| window == needle.as_bytes());
                if found && !cut.swap(true, Ordering::SeqCst) {
                    // The rest of the request goes on, and the answer tells that it was carried out.
                    return swallow(client, upstream).await;
                }
                seen.drain(..seen.len().saturating_sub(needle.len()));
            }
            count = upstream.read(&mut answered) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                client.write_all(&answered[..count]).await?;
            }
        }
    }
}

/// Carries the rest of a request until the server answers, and drops the answer.
async fn swallow(mut client: TcpStream, mut upstream: TcpStream) -> io::Result<()> {
    let (mut sent, mut answered) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        tokio::select! {
            count = client.read(&mut sent) => {
                let count = count?;
                upstream.write_all(&sent[..count]).await?;
                if count == 0 {
                    return Ok(());
                }
            }
            count = upstream.read(&mut answered) => {
                count?;
                return Ok(());
            }
        }
    }
}
