//! TLS over a socket that nobody waits for.
use crate::client::Stream;
use anyhow::ensure;
use rustix::fd::{AsFd, BorrowedFd};
use rustls::ClientConnection;
use std::io::{BufRead, ErrorKind, Write};
use std::net::TcpStream;

/// A connection's encrypted stream.
pub struct Wire {
    socket: TcpStream,
    tls: ClientConnection,
}

impl Wire {
    /// Takes a stream from the runtime.
    pub fn new(stream: Stream) -> anyhow::Result<Self> {
        let (socket, mut tls) = stream.into_inner();
        tls.set_buffer_limit(None);
        // The runtime has made it non-blocking.
        Ok(Self { socket: socket.into_std()?, tls })
    }

    /// Encrypts and writes; what the socket does not take waits for [`Self::flush`].
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.flush()
    }

    /// Writes what the socket takes of what waits.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => written?,
            };
        }
        Ok(())
    }

    /// Something waits until the socket takes more.
    pub fn is_full(&self) -> bool {
        self.tls.wants_write()
    }

    /// Reads once, if there is anything.
    pub fn read(&mut self) -> anyhow::Result<()> {
        match self.tls.read_tls(&mut self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            length => ensure!(length? > 0, "the server has closed the connection"),
        }
        self.tls.process_new_packets()?;
        Ok(())
    }

    /// Hands out what was read, decrypted.
    pub fn take(&mut self, mut each: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut reader = self.tls.reader();
        loop {
            let length = match reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                bytes => {
                    let bytes = bytes?;
                    ensure!(!bytes.is_empty(), "the server has closed the connection");
                    each(bytes)?;
                    bytes.len()
                }
            };
            reader.consume(length);
        }
    }

    /// Says that nothing more comes, as far as the socket takes it.
    pub fn close(mut self, last: &[u8]) {
        let _ = self.write(last);
        self.tls.send_close_notify();
        let _ = self.flush();
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
