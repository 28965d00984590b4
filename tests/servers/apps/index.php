<?php
// The app of php-fpm. The file `behaviour` of its release says what is wrong with it; see tests/servers/server.py.
if (trim(file_get_contents("behaviour")) === "errors") {
    http_response_code(500);
    exit("this release answers 500\n");
}
$identity = ["generation" => (int) getenv("DEPLOYD_GENERATION"), "instance" => (int) getenv("DEPLOYD_INSTANCE"), "pid" => getmypid()];
header("Content-Type: application/json");
switch (parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH)) {
    case "/slow":
        usleep((int) (1e6 * (float) $_GET["seconds"]));
        echo json_encode($identity);
        break;
    case "/upload":
        echo json_encode(["received" => strlen(file_get_contents("php://input"))]);
        break;
    case "/download":
        $body = str_repeat("x", 4_000_000);
        header("Content-Length: " . strlen($body));
        echo $body;
        break;
    default:
        echo json_encode($identity);
}
