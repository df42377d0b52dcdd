// Answers with what was asked, through the server of the JDK; started from its source.

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class Server {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", 9000), 0);
        server.createContext("/", exchange -> {
            var headers = exchange.getRequestHeaders();
            String body = new String(exchange.getRequestBody().readAllBytes());
            System.out.println("served " + headers.getFirst("x-fc-request-id"));
            byte[] text = String.join(" ", exchange.getRequestMethod(),
                exchange.getRequestURI().toString(), headers.getFirst("x-fc-control-path"),
                body).getBytes();
            exchange.getResponseHeaders().set("Function-Name", System.getenv("FC_FUNCTION_NAME"));
            exchange.sendResponseHeaders(201, text.length);
            exchange.getResponseBody().write(text);
            exchange.close();
        });
        server.start();
    }
}
