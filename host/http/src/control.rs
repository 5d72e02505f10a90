//! The control socket: where the machine's own administrators ask, and the kernel says who they are.
//!
//! Its file is made beside its name, closed to others, and only then given the name: nobody can
//! connect to it before. A file that a dead daemon left is replaced; one that is answered at is not.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::connection::Origin;
use crate::server::Error;

/// A socket that is listened on. Dropping it takes its file away.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: whether the file of that name is still this one.
    file: (u64, u64),
}

impl ControlSocket {
    /// Listens. The folder has to be there, and to be nobody else's to write in.
    ///
    /// # Errors
    /// [`Error::ControlSocket`], in particular where another process answers at this name, and where
    /// the file is no socket.
    pub async fn bind(path: &Path) -> Result<ControlSocket, Error> {
        let failed = |source| Error::ControlSocket { path: path.to_owned(), source };
        make_room(path).await.map_err(failed)?;
        let beside = path.with_extension("new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&beside).map_err(failed)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600)).map_err(failed)?;
        let metadata = fs::symlink_metadata(&beside).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        let file = (metadata.dev(), metadata.ino());
        Ok(ControlSocket { listener, path: path.to_owned(), file })
    }

    /// The next connection of somebody who may: root, or the user that we run as. Others are closed.
    ///
    /// # Errors
    /// When none can be accepted now.
    pub async fn accept(&self) -> io::Result<(UnixStream, Origin)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if may_enter(uid, rustix::process::geteuid().as_raw()) {
                return Ok((stream, Origin::Local { uid }));
            }
            tracing::warn!(
                uid,
                "closed a connection to the control socket: it is root's and the daemon's own"
            );
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket's file stays");
        }
    }
}

fn may_enter(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

/// Leaves nothing at that name that may be replaced; says what may not.
async fn make_room(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "there is a file of that name which is no socket",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => {
            Err(io::Error::new(ErrorKind::AddrInUse, "another process answers there; is a daemon running?"))
        }
        // Nobody listens: its daemon is dead.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(result: Result<ControlSocket, Error>) -> String {
        result.map(|_| "bound").unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        // A daemon that was killed leaves its file.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!dir.path().join("control.new").exists());
        let found = problem(ControlSocket::bind(&path).await);
        assert!(found.contains("another process answers there"), "{found}");
        let (connected, accepted) = tokio::join!(UnixStream::connect(&path), socket.accept());
        connected.unwrap();
        assert_eq!(accepted.unwrap().1, Origin::Local { uid: rustix::process::geteuid().as_raw() });
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        let found = problem(ControlSocket::bind(&path).await);
        assert!(found.contains("no socket"), "{found}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_file_of_a_later_daemon_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let socket = ControlSocket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let later = ControlSocket::bind(&path).await.unwrap();
        drop(socket);
        assert!(path.exists());
        drop(later);
        assert!(!path.exists());
    }

    #[test]
    fn only_root_and_the_daemons_own_user_may_enter() {
        assert!(may_enter(0, 107));
        assert!(may_enter(107, 107));
        assert!(!may_enter(1000, 107));
        assert!(!may_enter(1000, 0));
    }
}
