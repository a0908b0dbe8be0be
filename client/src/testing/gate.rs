//! A server that is stopped and started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use unseen_common::id::VaultId;
use unseen_common::receipt::SignedReceipt;
use unseen_common::vault::{
    Challenge, LoginRequest, NewAccount, Principal, Result, ServerInfo, Service, Vault, VaultError,
};
use unseen_server::vault::Core;

/// The way to a vault, on which nobody answers as long as the server is stopped.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    core: Core,
    stopped: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn new(core: Core) -> Self {
        Self { core, stopped: Arc::default() }
    }

    /// Stops the server, or starts it.
    pub(crate) fn stop(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Relaxed);
    }

    fn core(&self) -> Result<&Core> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(VaultError::Unreachable("connection refused".to_owned()));
        }
        Ok(&self.core)
    }
}

#[async_trait]
impl Service for Gate {
    async fn describe(&self) -> Result<ServerInfo> {
        self.core()?.describe().await
    }

    async fn create_account(&self, account: NewAccount) -> Result<()> {
        self.core()?.create_account(account).await
    }

    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge> {
        self.core()?.challenge(account, principal).await
    }

    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>> {
        self.core()?.login(request).await
    }

    async fn erased(&self, account: VaultId) -> Result<SignedReceipt> {
        self.core()?.erased(account).await
    }

    fn host(&self) -> String {
        self.core.host()
    }
}
