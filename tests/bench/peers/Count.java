import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Sink of {@link Dedupe}'s accepted votes: batched upserts of rows and totals over JDBC.
 *
 * <p>The offsets are in the same transaction, so a kill loses and repeats nothing.
 *
 * <p>Arguments: servers, topic, JDBC address, user, password.
 */
public final class Count {
  private static final String ROWS =
      "INSERT INTO peer_votes (vote_key, contest, choice, citizen_id, \"timestamp\","
          + " processed_timestamp, source_partition, source_offset) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
          + " ON CONFLICT (vote_key) DO UPDATE SET source_offset = EXCLUDED.source_offset";
  private static final String TOTALS =
      "INSERT INTO peer_results (contest, choice, votes) VALUES (?, ?, ?)"
          + " ON CONFLICT (contest, choice) DO UPDATE SET votes = peer_results.votes + EXCLUDED.votes";
  private static final String OFFSETS =
      "INSERT INTO peer_offsets (partition, next) VALUES (?, ?)"
          + " ON CONFLICT (partition) DO UPDATE SET next = EXCLUDED.next";

  private record Choice(String contest, String name) {}

  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", arguments[0]);
    settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
    settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
    settings.put("isolation.level", "read_committed");
    settings.put("enable.auto.commit", "false");
    settings.put("max.poll.records", "3000");
    settings.put("fetch.min.bytes", "65536");
    settings.put("fetch.max.wait.ms", "50");
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings);
        Connection database =
            DriverManager.getConnection(
                arguments[2] + "?reWriteBatchedInserts=true", arguments[3], arguments[4])) {
      database.setAutoCommit(false);
      seek(consumer, database, arguments[1]);
      while (true) {
        ConsumerRecords<byte[], byte[]> votes = consumer.poll(Duration.ofMillis(100));
        if (!votes.isEmpty()) {
          write(database, votes);
        }
      }
    }
  }

  private static void seek(
      KafkaConsumer<byte[], byte[]> consumer, Connection database, String topic) throws Exception {
    List<TopicPartition> partitions = new ArrayList<>();
    for (PartitionInfo one : consumer.partitionsFor(topic)) {
      partitions.add(new TopicPartition(topic, one.partition()));
    }
    consumer.assign(partitions);
    consumer.seekToBeginning(partitions);
    try (Statement statement = database.createStatement();
        ResultSet stored = statement.executeQuery("SELECT partition, next FROM peer_offsets")) {
      while (stored.next()) {
        consumer.seek(new TopicPartition(topic, stored.getInt(1)), stored.getLong(2));
      }
    }
    database.commit();
  }

  private static void write(Connection database, ConsumerRecords<byte[], byte[]> votes)
      throws Exception {
    Map<Choice, Long> totals = new HashMap<>();
    Timestamp now = Timestamp.from(Instant.now());
    try (PreparedStatement rows = database.prepareStatement(ROWS);
        PreparedStatement results = database.prepareStatement(TOTALS);
        PreparedStatement offsets = database.prepareStatement(OFFSETS)) {
      for (ConsumerRecord<byte[], byte[]> vote : votes) {
        ByteBuffer fields = ByteBuffer.wrap(vote.value());
        Timestamp time = micros(fields.getLong());
        String contest = text(fields);
        String choice = text(fields);
        rows.setBytes(1, vote.key());
        rows.setString(2, contest);
        rows.setString(3, choice);
        rows.setString(4, text(fields));
        rows.setTimestamp(5, time);
        rows.setTimestamp(6, now);
        rows.setInt(7, vote.partition());
        rows.setLong(8, vote.offset());
        rows.addBatch();
        totals.merge(new Choice(contest, choice), 1L, Long::sum);
      }
      rows.executeBatch();
      for (Map.Entry<Choice, Long> one : totals.entrySet()) {
        results.setString(1, one.getKey().contest());
        results.setString(2, one.getKey().name());
        results.setLong(3, one.getValue());
        results.addBatch();
      }
      results.executeBatch();
      for (TopicPartition one : votes.partitions()) {
        List<ConsumerRecord<byte[], byte[]>> read = votes.records(one);
        offsets.setInt(1, one.partition());
        offsets.setLong(2, read.get(read.size() - 1).offset() + 1);
        offsets.addBatch();
      }
      offsets.executeBatch();
    }
    database.commit();
  }

  private static Timestamp micros(long since) {
    return Timestamp.from(
        Instant.ofEpochSecond(since / 1_000_000, Math.floorMod(since, 1_000_000L) * 1000));
  }

  private static String text(ByteBuffer fields) {
    byte[] found = new byte[fields.get() & 0xFF];
    fields.get(found);
    return new String(found, StandardCharsets.UTF_8);
  }
}
