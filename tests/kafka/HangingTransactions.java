// Finds transactions that a partition holds open although nobody can end them any more, and tells
// what the coordinator knows of each: like `kafka-transactions.sh find-hanging`, whose jar the tests
// do not fetch. One line for each.
//   java -cp JARS HangingTransactions.java BOOTSTRAP_SERVERS SECONDS
// A transaction hangs if nothing was written in it for SECONDS: longer than any may be open.

import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.TopicPartition;

public class HangingTransactions {
    public static void main(String[] arguments) throws Exception {
        long before = System.currentTimeMillis() - 1000 * Long.parseLong(arguments[1]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            Set<String> topics = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
            List<TopicPartition> partitions = new ArrayList<>();
            for (TopicDescription topic : admin.describeTopics(topics).allTopicNames().get().values()) {
                topic.partitions().forEach(one -> partitions.add(new TopicPartition(topic.name(), one.partition())));
            }
            var producers = admin.describeProducers(partitions).all().get();
            for (TopicPartition partition : partitions) {
                for (ProducerState producer : producers.get(partition).activeProducers()) {
                    OptionalLong start = producer.currentTransactionStartOffset();
                    if (start.isEmpty() || producer.lastTimestamp() > before) {
                        continue;
                    }
                    System.out.printf("%s open at %d: %s, %s%n",
                        partition, start.getAsLong(), producer, known(admin, producer.producerId()));
                }
            }
        }
    }

    /** What the coordinator says of the producer's transaction. */
    private static String known(Admin admin, long producer) throws Exception {
        var listed = admin.listTransactions(new ListTransactionsOptions().filterProducerIds(Set.of(producer)))
            .all().get();
        var ids = listed.stream().map(TransactionListing::transactionalId).collect(Collectors.toSet());
        return ids.isEmpty() ? "unknown to the coordinator" : "coordinator: " + admin.describeTransactions(ids).all().get();
    }
}
