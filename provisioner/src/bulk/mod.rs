//! Registration tasks: a template and a file of values, a line for each device (`spec/templates.md` section 9).
//!
//! A line's resources and what became of it are one commit; a window of such outcomes waits in the registry until it is in the
//! reports, and how far the reports count is a commit again. So a task that is interrupted anywhere, also by `kill -9`, goes
//! on without doing a line twice, and its reports neither lack a line nor have one twice.
mod home;
mod input;
mod line;
mod lines;
mod link;
mod report;
mod run;
mod task;

pub use link::ReportLink;
pub use report::ReportType;
pub(crate) use task::TaskRecord;
pub use task::TaskStatus;

use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::issuing::Issuing;
use crate::registry::{Page, PageRequest, Registry, templates};
use crate::store::{Direction, KeyRange, Table};
use crate::stored::Stored;
use crate::transact::transact;
use home::Home;
use input::Location;
use jitp_templates::Caller;
use parking_lot::Mutex;
use run::Runner;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use task::Progress;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

type Result<T> = std::result::Result<T, RegistryError>;

/// Old tasks are looked for this often.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// Tasks looked at in one go.
const CHUNK: usize = 100;

/// StartThingRegistrationTask.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StartTask {
    pub template_body: String,
    pub bucket: String,
    pub key: String,
    pub role_arn: String,
    /// Of the ARNs in the reports.
    pub region: String,
}

/// A registration task as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Task {
    pub id: String,
    pub template_body: String,
    pub bucket: String,
    pub key: String,
    pub role_arn: String,
    pub status: TaskStatus,
    /// Why it failed, or why it does not go on at the moment.
    pub message: Option<String>,
    /// Lines that were provisioned, and that were not; each is in a report.
    pub succeeded: u64,
    pub failed: u64,
    /// 0 to 100: of the bytes of the input.
    pub percentage: u8,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
}

/// A report to be read: so many bytes of this file.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct OpenReport {
    pub file: std::fs::File,
    pub bytes: u64,
}

/// Registration tasks. Cheap to clone. Obtained from [`crate::Provisioner::registration_tasks`].
#[derive(Clone)]
pub struct RegistrationTasks {
    /// Of who asks.
    registry: Registry,
    workshop: Arc<Workshop>,
}

/// Where tasks are run, which belongs to no call.
struct Workshop {
    registry: Registry,
    issuing: Arc<Issuing>,
    home: Home,
    running: Mutex<HashMap<String, Running>>,
    /// Turns true when everything is to be left as it is.
    closing: watch::Sender<bool>,
    tidying: Mutex<Option<JoinHandle<()>>>,
}

struct Running {
    task: JoinHandle<()>,
    paused: Arc<Mutex<Option<String>>>,
}

impl RegistrationTasks {
    /// Goes on with what was interrupted. Runs until [`Self::close`], or until dropped.
    pub(crate) async fn open(registry: Registry, issuing: Arc<Issuing>, data: &Path) -> Result<Self> {
        let home = Home::new(data, registry.options().registration_directory.as_deref());
        let workshop = Workshop {
            registry: registry.clone(),
            issuing,
            home,
            running: Mutex::default(),
            closing: watch::Sender::new(false),
            tidying: Mutex::default(),
        };
        let interrupted = registry.begin().rows(Table::RunningRegistrationTasks, b"").await?;
        for (key, _) in interrupted {
            let id = String::from_utf8_lossy(&key).into_owned();
            tracing::info!(task = id, "a registration task goes on");
            workshop.launch(id);
        }
        let tidying = tidy_up(registry.clone(), workshop.home.clone(), workshop.closing.subscribe());
        *workshop.tidying.lock() = Some(tokio::spawn(tidying));
        Ok(Self { registry, workshop: Arc::new(workshop) })
    }

    /// The same by way of another handle of the registry.
    pub(crate) fn over(&self, registry: &Registry) -> Self {
        Self { registry: registry.clone(), workshop: Arc::clone(&self.workshop) }
    }

    /// The directory whose sub-directories are buckets.
    pub fn directory(&self) -> &Path {
        self.workshop.home.input()
    }

    /// Starts a task; it has been stored when this returns.
    ///
    /// # Errors
    /// `InvalidRequest` when the template does not validate, the input cannot be read, or as many tasks run as may.
    pub async fn start(&self, request: StartTask) -> Result<String> {
        let input = Location::new(&request.bucket, &request.key)?;
        templates::parse_for(self.registry.options(), Caller::Rest, &request.template_body).map_err(
            |problems| {
                RegistryError::InvalidRequest(format!(
                    "templateBody: the template body is invalid: {problems}"
                ))
            },
        )?;
        let (home, location) = (self.workshop.home.clone(), input.clone());
        let opened = tokio::task::spawn_blocking(move || location.open(home.input())).await;
        let (_, identity) = opened.map_err(|error| RegistryError::Internal(error.to_string()))??;
        let now = self.registry.clock().now();
        let record = TaskRecord {
            id: new_id(now),
            template_body: request.template_body,
            input,
            identity,
            role_arn: request.role_arn,
            region: request.region,
            status: TaskStatus::InProgress,
            message: None,
            created_at: now,
            modified_at: now,
            link_secret: link::new_secret()?,
        };
        transact!(self.registry, |tx| task::create(tx, &record))?;
        self.workshop.launch(record.id.clone());
        Ok(record.id)
    }

    /// A task as it stands.
    ///
    /// # Errors
    /// `NotFound` if there is none (any more).
    pub async fn describe(&self, id: &str) -> Result<Task> {
        let mut tx = self.registry.begin();
        let record: TaskRecord = tx.require(id).await?;
        let progress = task::progress(&mut tx, id).await?;
        let paused = self.workshop.running.lock().get(id).and_then(|running| running.paused.lock().clone());
        let paused = paused.map(|why| format!("paused, and goes on by itself: {why}"));
        Ok(described(record, &progress, paused))
    }

    /// Tasks, oldest first; those with this status if one is given.
    pub async fn list(&self, status: Option<TaskStatus>, request: &PageRequest) -> Result<Page<String>> {
        let item = |record: &TaskRecord| status.is_none_or(|status| record.status == status);
        let page = crate::registry::filtered_page(self.registry.store(), request, item).await?;
        Ok(Page { items: page.items.into_iter().map(|record| record.id).collect(), next: page.next })
    }

    /// Asks a task to stop: no line is begun any more.
    ///
    /// # Errors
    /// `NotFound`; `InvalidRequest` when it has ended.
    pub async fn stop(&self, id: &str) -> Result<()> {
        transact!(self.registry, |tx| task::cancel(tx, id))?;
        // Its lines find out by themselves; if there are none left, or it pauses, somebody must look.
        self.workshop.launch(id.into());
        Ok(())
    }

    /// A link to a report of a task, for an hour. `None`: nothing is in that report (yet).
    ///
    /// # Errors
    /// `NotFound` if there is no such task.
    pub async fn report_link(&self, id: &str, report: ReportType) -> Result<Option<ReportLink>> {
        let mut tx = self.registry.begin();
        let record: TaskRecord = tx.require(id).await?;
        let bytes = bytes_of(&task::progress(&mut tx, id).await?, report);
        let now = self.registry.clock().now();
        Ok((bytes > 0).then(|| ReportLink::sign(&record.link_secret, id, report, now)))
    }

    /// The report that a link opens. `None`: it opens nothing, whatever the reason.
    pub async fn open_report(&self, link: &ReportLink) -> Result<Option<OpenReport>> {
        let mut tx = self.registry.begin();
        let Some(record) = tx.get::<TaskRecord>(&link.task_id).await? else { return Ok(None) };
        if !link.holds(&record.link_secret, self.registry.clock().now()) {
            return Ok(None);
        }
        let bytes = bytes_of(&task::progress(&mut tx, &record.id).await?, link.report);
        let path = report::path(&self.workshop.home.reports(&record.id), link.report);
        let opened = tokio::task::spawn_blocking(move || std::fs::File::open(path)).await;
        match opened.map_err(|error| RegistryError::Internal(error.to_string()))? {
            Ok(file) => Ok(Some(OpenReport { file, bytes })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RegistryError::Unavailable(format!("the report cannot be read: {error}"))),
        }
    }

    /// Lets lines under way end and leaves the tasks as they are: they go on when the registry is opened again.
    pub(crate) async fn close(&self) {
        self.workshop.closing.send_replace(true);
        let tidying = self.workshop.tidying.lock().take();
        let running: Vec<JoinHandle<()>> =
            self.workshop.running.lock().drain().map(|(_, running)| running.task).collect();
        for task in running.into_iter().chain(tidying) {
            // It only fails if the task crashed; there is nothing to wait for then.
            task.await.unwrap_or_default();
        }
    }
}

impl Workshop {
    /// Runs a task unless it is run already.
    fn launch(&self, id: String) {
        let mut running = self.running.lock();
        if *self.closing.borrow() || running.get(&id).is_some_and(|running| !running.task.is_finished()) {
            return;
        }
        running.retain(|_, running| !running.task.is_finished());
        let paused = Arc::<Mutex<Option<String>>>::default();
        let runner = Runner {
            registry: self.registry.clone(),
            issuing: Arc::clone(&self.issuing),
            home: self.home.clone(),
            id: id.clone(),
            stop: self.closing.subscribe(),
            paused: Arc::clone(&paused),
        };
        running.insert(id, Running { task: tokio::spawn(runner.run()), paused });
    }
}

fn described(record: TaskRecord, progress: &Progress, paused: Option<String>) -> Task {
    let percentage = match (record.status, record.identity.bytes) {
        (TaskStatus::Completed, _) | (_, 0) => 100,
        (_, bytes) => u8::try_from(progress.offset.saturating_mul(100) / bytes).unwrap_or(100).min(100),
    };
    Task {
        id: record.id,
        template_body: record.template_body,
        bucket: record.input.bucket,
        key: record.input.key,
        role_arn: record.role_arn,
        message: record.message.or(paused.filter(|_| record.status.is_running())),
        status: record.status,
        succeeded: progress.succeeded,
        failed: progress.failed,
        percentage,
        created_at: record.created_at,
        modified_at: record.modified_at.max(progress.at),
    }
}

fn bytes_of(progress: &Progress, report: ReportType) -> u64 {
    match report {
        ReportType::Results => progress.results,
        ReportType::Errors => progress.errors,
    }
}

/// A UUID (version 7) that sorts by time.
fn new_id(now: Timestamp) -> String {
    let random = Uuid::new_v4().into_bytes();
    let tail: [u8; 10] = random.last_chunk().copied().unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(now.millis(), &tail).into_uuid().to_string()
}

/// Forgets tasks that have been over for long, now and then, until everything is to be left as it is.
async fn tidy_up(registry: Registry, home: Home, mut closing: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        if let Err(error) = forget_old(&registry, &home).await {
            tracing::warn!(%error, "old registration tasks could not be removed: it is tried again in an hour");
        }
    }
}

async fn forget_old(registry: &Registry, home: &Home) -> Result<()> {
    let kept_for = registry.options().registration_tasks_kept_for.as_millis();
    let kept_for = u64::try_from(kept_for).unwrap_or(u64::MAX);
    let mut range = KeyRange::prefix(&[]);
    loop {
        let rows =
            registry.store().scan(Table::RegistrationTasks, &range, CHUNK, Direction::Ascending).await?;
        let Some((last, _)) = rows.last() else { break };
        range = range.beyond(last.clone(), Direction::Ascending);
        for (key, row) in &rows {
            let record = TaskRecord::decode(key, &row.value)?;
            let age = registry.clock().now().millis().saturating_sub(record.modified_at.millis());
            if !record.status.is_running() && age > kept_for {
                remove_reports(home, &record.id).await?;
                transact!(registry, |tx| task::forget(tx, &record.id))?;
            }
        }
    }
    // Reports of tasks that a reset has removed.
    let (listed, home) = (home.clone(), home.clone());
    let reported = tokio::task::spawn_blocking(move || listed.reported()).await.unwrap_or_default();
    for id in reported {
        if !registry.begin().exists::<TaskRecord>(id.as_str()).await? {
            remove_reports(&home, &id).await?;
        }
    }
    Ok(())
}

async fn remove_reports(home: &Home, id: &str) -> Result<()> {
    let (home, id) = (home.clone(), id.to_owned());
    let removed = tokio::task::spawn_blocking(move || home.remove_reports(&id)).await;
    match removed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(RegistryError::Unavailable(format!("a report cannot be removed: {error}"))),
        Err(error) => Err(RegistryError::Internal(error.to_string())),
    }
}
