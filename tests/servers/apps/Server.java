// The app of Java, with the JDK's own server. The file `behaviour` of its release says what is wrong with it; see
// tests/servers/server.py. On SIGTERM it has the clients leave for two seconds, and then waits for its requests.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.Executors;
import java.util.concurrent.Phaser;

public class Server {
    static final int LINGER = 2000; // milliseconds
    static final byte[] DOWNLOAD = new byte[4_000_000];
    static volatile boolean stopping = false;
    static final Phaser requests = new Phaser(1);

    public static void main(String[] arguments) throws Exception {
        String behaviour = Files.readString(Path.of("behaviour")).strip();
        if (behaviour.equals("crash")) throw new RuntimeException("this release crashes");
        if (behaviour.equals("late")) {
            Thread.sleep(1000);
            Class.forName("no.such.Module");
        }
        if (behaviour.equals("hang")) Thread.sleep(3_600_000);
        Arrays.fill(DOWNLOAD, (byte) 'x');
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 1024);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            requests.register();
            try (exchange) {
                answer(exchange, behaviour.equals("errors"));
            } finally {
                requests.arriveAndDeregister();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                Thread.sleep(LINGER);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            requests.arriveAndAwaitAdvance();
            server.stop(0);
        }));
        server.start();
    }

    static void answer(HttpExchange exchange, boolean errors) throws IOException {
        byte[] body = ("{\"generation\": " + System.getenv("DEPLOYD_GENERATION") + ", \"instance\": "
            + System.getenv("DEPLOYD_INSTANCE") + ", \"pid\": " + ProcessHandle.current().pid() + "}").getBytes(StandardCharsets.UTF_8);
        String path = exchange.getRequestURI().getPath();
        if (path.equals("/slow")) {
            try {
                Thread.sleep((long) (1000 * Double.parseDouble(exchange.getRequestURI().getQuery().substring("seconds=".length()))));
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        } else if (path.equals("/upload")) {
            body = ("{\"received\": " + exchange.getRequestBody().readAllBytes().length + "}").getBytes(StandardCharsets.UTF_8);
        } else if (path.equals("/download")) {
            body = DOWNLOAD;
        }
        if (stopping) exchange.getResponseHeaders().set("Connection", "close");
        exchange.sendResponseHeaders(errors ? 500 : 200, body.length);
        exchange.getResponseBody().write(body);
    }
}
