# Answers with what was asked, by hand; names of headers are looked up as they are usually written.

require "socket"

server = TCPServer.new("0.0.0.0", 9000)
loop do
  Thread.new(server.accept) do |connection|
    while (first = connection.gets)
      headers = {}
      while (line = connection.gets.chomp) != ""
        name, value = line.split(": ", 2)
        headers[name.downcase] = value
      end
      body = connection.read(headers.fetch("content-length", "0").to_i)
      method, target, = first.split(" ")
      $stdout.puts "served #{headers["x-fc-request-id"]}"
      $stdout.flush
      text = "#{method} #{target} #{headers["x-fc-control-path"]} #{body}"
      connection.write "HTTP/1.1 201 Created\r\nFunction-Name: #{ENV["FC_FUNCTION_NAME"]}\r\n" \
                       "Content-Length: #{text.bytesize}\r\n\r\n#{text}"
    end
    connection.close
  end
end
