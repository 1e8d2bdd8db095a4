//! The demo's Kafka: librdkafka's mock cluster in this process, or a real one.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::demo::summary::Broker;
use crate::shell::Topics;
use crate::shell::kafka::{GroupProtocol, KafkaOptions, TopicPlan, TopicReport, create_topics};

/// Partitions of every topic of the demo.
pub(super) const PARTITIONS: i32 = 6;

/// A broker that is ready, with its topics.
pub(super) struct Ready {
    /// How to reach it.
    pub(super) kafka: KafkaOptions,
    /// The run's own topics.
    pub(super) topics: Topics,
    /// What it is.
    pub(super) kind: Broker,
    /// Keeps the embedded one alive.
    _embedded: Option<Embedded>,
}

/// Brings the broker up.
pub(super) async fn start(bootstrap_servers: Option<&str>) -> Result<Ready> {
    let run = &uuid::Uuid::new_v4().simple().to_string()[..8];
    let topics = topics(run);
    let options = |servers: String| KafkaOptions {
        bootstrap_servers: servers,
        group_id: format!("zerotouch-demo-{run}"),
        client_id: "zerotouch-demo".into(),
        ..KafkaOptions::default()
    };
    let Some(servers) = bootstrap_servers else {
        let embedded = Embedded::start(&topics)?;
        let mut kafka = options(embedded.servers.clone());
        // The mock cluster lets the first member of a classic group wait for three seconds.
        kafka.group_protocol = GroupProtocol::Consumer;
        return Ok(Ready { kafka, topics, kind: Broker::EmbeddedMock, _embedded: Some(embedded) });
    };
    let kafka = options(servers.to_owned());
    make_topics(&kafka, &topics).await?;
    let kind = Broker::Kafka { bootstrap_servers: servers.to_owned() };
    Ok(Ready { kafka, topics, kind, _embedded: None })
}

fn topics(run: &str) -> Topics {
    let name = |topic: &str| -> Arc<str> { format!("zerotouch-demo-{run}.{topic}").into() };
    Topics {
        orders: vec![name("orders")],
        commands: name("commands"),
        ledger: name("ledger"),
        outcomes: name("outcomes"),
        dead_letters: name("dead-letters"),
    }
}

async fn make_topics(kafka: &KafkaOptions, topics: &Topics) -> Result<()> {
    let plan = TopicPlan {
        commands: topics.commands.to_string(),
        ledger: topics.ledger.to_string(),
        outcomes: topics.outcomes.to_string(),
        dead_letters: topics.dead_letters.to_string(),
        partitions: PARTITIONS,
        ..TopicPlan::default()
    };
    for report in create_topics(kafka, &plan).await.context("making the demo's topics")? {
        match report {
            TopicReport::Created { .. } | TopicReport::Present { .. } => {}
            TopicReport::Failed { topic, reason } => bail!("topic {topic} was not made: {reason}"),
            TopicReport::Wrong { topic, problems } => bail!("topic {topic}: {problems:?}"),
        }
    }
    for topic in &topics.orders {
        crate::shell::kafka::create_topic(kafka, topic, PARTITIONS)
            .await
            .with_context(|| format!("making the order topic {topic}"))?;
    }
    Ok(())
}

/// The mock cluster on a thread of its own, since it cannot move between threads.
struct Embedded {
    servers: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    fn start(topics: &Topics) -> Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, answer) = mpsc::channel();
        let names: Vec<String> = topics
            .orders
            .iter()
            .chain([&topics.commands, &topics.ledger, &topics.outcomes, &topics.dead_letters])
            .map(ToString::to_string)
            .collect();
        let thread = std::thread::Builder::new().name("mock-cluster".into()).spawn(move || {
            let cluster = MockCluster::new(1).and_then(|cluster| {
                for name in &names {
                    cluster.create_topic(name, PARTITIONS, 1)?;
                }
                Ok(cluster)
            });
            match cluster {
                Ok(cluster) => {
                    let cluster: MockCluster<'_, DefaultProducerContext> = cluster;
                    let _ = ready.send(Ok(cluster.bootstrap_servers()));
                    // Ends when the sender is dropped.
                    let _ = stopped.recv();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let servers = answer
            .recv_timeout(Duration::from_secs(10))
            .context("the embedded broker did not start")?
            .context("the embedded broker did not start")?;
        Ok(Self { servers, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
