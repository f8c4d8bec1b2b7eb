-- The request of benchmarks/load/wrk.py, and its report: one line of JSON with exact counts.
-- Arguments: method, number of bytes in the body (0: none).

function init(args)
   wrk.method = args[1]
   local size = tonumber(args[2])
   if size > 0 then
      wrk.body = string.rep("x", size)
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "bytes": %d, "microseconds": %d, "p50": %d, "p99": %d, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
