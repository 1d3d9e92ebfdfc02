import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * First vote of a key wins: a persistent store with a changelog, one output a vote, exactly once.
 *
 * <p>Arguments: servers, application id, input topic, output topic, state folder; topic for whole
 * accepted votes, if they are to be counted.
 */
public final class Dedupe {
  private static final String STORE = "voted";
  private static final byte[] ACCEPTED = {1};
  private static final byte[] DUPLICATE = {0};

  private static final class First implements Processor<byte[], byte[], byte[], byte[]> {
    private final boolean whole;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> voted;

    First(boolean whole) {
      this.whole = whole;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      this.voted = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> vote) {
      boolean first = voted.get(vote.key()) == null;
      if (first) {
        voted.put(vote.key(), ACCEPTED);
      }
      if (!first) {
        context.forward(vote.withValue(DUPLICATE));
      } else {
        context.forward(whole ? vote : vote.withValue(ACCEPTED));
      }
    }
  }

  public static void main(String[] arguments) throws InterruptedException {
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(
        Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore(STORE), Serdes.ByteArray(), Serdes.ByteArray()));
    boolean whole = arguments.length > 5;
    Produced<byte[], byte[]> bytes = Produced.with(Serdes.ByteArray(), Serdes.ByteArray());
    builder.stream(arguments[2], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .process(() -> new First(whole), STORE)
        .split()
        .branch(
            (key, value) -> value.length > 1,
            Branched.withConsumer(votes -> votes.to(arguments[arguments.length - 1], bytes)))
        .defaultBranch(Branched.withConsumer(verdicts -> verdicts.to(arguments[3], bytes)));
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put("auto.offset.reset", "earliest");
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
    Thread.currentThread().join();
  }
}
