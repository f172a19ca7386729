package org.example.server;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.concurrent.Executors;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.commons.cli.ParseException;
import org.example.words.Words;

/** Answers which words begin with a prefix. */
public final class Server {
    private final Words words;

    Server(Words words) {
        this.words = words;
    }

    public static void main(String[] args) throws IOException {
        var options = new Options().addOption("p", "port", true, "port to listen on");
        int port;
        try {
            port = Integer.parseInt(new DefaultParser().parse(options, args).getOptionValue("port", "8080"));
        } catch (ParseException | NumberFormatException error) {
            System.err.println(error.getMessage());
            System.exit(2);
            return;
        }
        var server = HttpServer.create(new InetSocketAddress(port), 0);
        var answers = new Server(Words.load());
        server.createContext("/", answers::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(0)));
        server.start();
        System.out.println("listening on " + port);
    }

    /** The body for a path: words for a prefix, and what the program sees of the machine for {@code /machine}. */
    String body(String path) throws IOException {
        if (path.equals("/machine")) {
            var file = Files.createTempFile("probe", null);
            Files.delete(file);
            return "user " + System.getProperty("user.name") + "\nencoding " + System.getProperty("file.encoding") + "\n";
        }
        var prefix = URLDecoder.decode(path.substring(1), StandardCharsets.UTF_8);
        return String.join("\n", words.beginningWith(prefix)) + "\n";
    }

    private void answer(HttpExchange exchange) throws IOException {
        try (exchange) {
            var body = body(exchange.getRequestURI().getRawPath()).getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
        }
    }
}
