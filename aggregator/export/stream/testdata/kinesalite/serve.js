// A Kinesis on loopback that keeps what it has: node serve.js DIRECTORY PORT
const [directory, port] = process.argv.slice(2)
require('kinesalite')({path: directory, createStreamMs: 1}).listen(Number(port), '127.0.0.1', () => console.log('ready'))
