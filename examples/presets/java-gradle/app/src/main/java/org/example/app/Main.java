package org.example.app;

import java.nio.charset.StandardCharsets;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.example.prices.Price;

public final class Main {
    public static void main(String[] args) throws Exception {
        var count = Integer.parseInt(new DefaultParser().parse(new Options(), args).getArgList().get(0));
        try (var currency = Main.class.getResourceAsStream("/currency.txt")) {
            var name = new String(currency.readAllBytes(), StandardCharsets.UTF_8).trim();
            System.out.println(count + " cups cost " + Price.ofCups(count) + " " + name);
        }
    }
}
