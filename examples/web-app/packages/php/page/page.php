<?php

/** A page of HTML around a title and lines. */
function page(string $title, array $lines): string
{
    $items = array_map(fn ($line) => '<li>' . htmlspecialchars($line) . '</li>', $lines);
    return "<h1>" . htmlspecialchars($title) . "</h1><ul>" . implode('', $items) . "</ul>\n";
}
