// The only script of the pages: it draws charts, and follows GET /live. Without it they
// show the same numbers, as of when they came.
'use strict';

(() => {
  const byID = (id) => document.getElementById(id);
  const page = (element) => JSON.parse(element.textContent);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const calm = matchMedia('(prefers-reduced-motion: reduce)');

  // Numbers and times look as the server writes them.
  const nbsp = '\u00a0';
  const whole = (n) => Math.round(n).toLocaleString('en-US');
  const compact = (n) => {
    for (const [of, name] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
      if (n >= 1e4 && n >= of) return `${Number((n / of).toPrecision(3))}${nbsp}${name}`;
    }
    return Number.isInteger(n) ? whole(n) : String(Number(n.toPrecision(3)));
  };
  const pair = (a, unitA, b, unitB) => `${a}${nbsp}${unitA}` + (b ? `${nbsp}${b}${nbsp}${unitB}` : '');
  const duration = (s) => {
    const n = Math.round(s);
    if (s === 0) return `0${nbsp}s`;
    if (s < 0.9995) return `${Math.round(1000 * s)}${nbsp}ms`;
    if (s < 9.95) return `${Number(s.toFixed(1))}${nbsp}s`;
    if (n < 60) return `${n}${nbsp}s`;
    if (n < 3600) return pair(Math.floor(n / 60), 'm', n % 60, 's');
    if (n < 86400) return pair(Math.floor(n / 3600), 'h', Math.floor(n % 3600 / 60), 'm');
    return pair(Math.floor(n / 86400), 'd', Math.floor(n % 86400 / 3600), 'h');
  };
  const zoneOf = (name) => { // that of the page, if the browser knows it
    try {
      return new Intl.DateTimeFormat('en-GB', { timeZone: name }).resolvedOptions().timeZone;
    } catch {
      return 'UTC';
    }
  };
  const clockOf = (name, more) => {
    const format = new Intl.DateTimeFormat('en-GB', { timeZone: zoneOf(name), hourCycle: 'h23', ...more });
    return (ms) => format.format(new Date(ms)).replace(/ (?=\D)|(?<=\D) /g, nbsp).replace(`,${nbsp}`, ', ');
  };
  const toTheSecond = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
  const toTheMinute = { hour: '2-digit', minute: '2-digit' };
  const date = { day: 'numeric', month: 'short' };

  // The filters: nothing that is empty, or so by default, gets into the URL.
  function filters() {
    for (const form of document.querySelectorAll('form.filters')) {
      const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
      const field = form.elements.tz;
      if (field && zone && zone !== 'UTC' && field.value === 'UTC' && !new URLSearchParams(location.search).has('tz')) {
        const use = make('button', 'quiet', `Times in ${zone}`);
        use.addEventListener('click', () => { field.value = zone; });
        form.append(use);
      }
      form.addEventListener('submit', () => {
        const custom = form.elements.range && form.elements.range.value === 'custom';
        for (const input of form.elements) {
          const isDefault = input.name === 'range' && input.value === '24h' || input.name === 'tz' && input.value === 'UTC' ||
            input.name === 'sort' && input.selectedIndex === 0 || (input.name === 'from' || input.name === 'to') && !custom;
          if (input.name && (input.value === '' || isDefault)) input.disabled = true;
        }
      });
      addEventListener('pageshow', () => { for (const input of form.elements) input.disabled = false; });
    }
  }

  // Charts.
  const drawn = new Map(); // figure -> { chart, data }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function draw(figure) {
    const data = page(figure.querySelector('script'));
    const plot = figure.querySelector('.plot');
    const mini = figure.classList.contains('mini');
    const show = data.unit === 'seconds' ? duration : compact;
    const stacked = data.kind === 'stack';
    const lines = data.kind === 'lines';
    // Of a stack each series is drawn to its top, the highest first; the legend tells its own values.
    const order = data.series.map((_, i) => i);
    if (stacked) order.reverse();
    const tops = data.series.map((s, i) => stacked ? s.values.map((_, x) => data.series.slice(0, i + 1).reduce((sum, t) => sum + (t.values[x] || 0), 0)) : s.values);
    const range = data.until - data.starts[0];
    const dayOf = clockOf(data.tz, date);
    const timeOf = clockOf(data.tz, toTheMinute);
    const bars = lines ? null : uPlot.paths.bars({
      size: [0.82, 40], align: 1,
    });
    const series = order.map((i) => {
      const s = data.series[i];
      const ink = colour(s.color);
      const sum = s.values.reduce((all, v) => all + (v || 0), 0);
      return {
        label: s.label, stroke: ink, width: lines ? 2 : 0, fill: lines ? undefined : ink, paths: bars || undefined,
        points: { show: lines ? undefined : false, size: 5, fill: ink },
        value: (_, __, ___, x) => x === null || x === undefined ? (lines ? '' : compact(sum)) : (s.values[x] === null ? '–' : show(s.values[x])),
      };
    });
    const axis = { stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
    const options = {
      width: Math.max(120, plot.clientWidth), height: mini ? 84 : 210,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), zoneOf(data.tz)),
      padding: [8, mini ? 16 : 6, 0, 0],
      legend: { show: !mini, markers: { width: 0, fill: (_, i) => i === 0 ? null : colour(data.series[order[i - 1]].color) } },
      cursor: { show: !mini, y: false, drag: { x: false, y: false }, points: { show: lines }, sync: mini ? undefined : { key: 'range' } },
      scales: {
        x: { range: () => [data.starts[0], data.until] },
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 30, space: 64,
          values: (_, splits) => splits.map((t) => range > 5 * 86400 ? dayOf(t * 1000) : range > 86400 && timeOf(t * 1000) === '00:00' ? dayOf(t * 1000) : timeOf(t * 1000)) },
        { ...axis, size: 48, space: mini ? 18 : 36, incrs: data.unit === 'count' ? [1, 2, 5, 10, 20, 50].concat(...[2, 3, 4, 5, 6, 7].map((e) => [1, 2, 5].map((m) => m * 10 ** e))) : undefined,
          values: (_, splits) => splits.map((v) => v === 0 ? '0' : show(v)) },
      ],
      series: [{ label: 'From', value: (_, t) => t === null || t === undefined ? 'In all' : `${dayOf(t * 1000)}, ${timeOf(t * 1000)}` }, ...series],
    };
    plot.textContent = '';
    return { data, order, tops, chart: new uPlot(options, [data.starts, ...order.map((i) => tops[i])], plot) };
  }

  function charts() {
    const figures = document.querySelectorAll('figure.chart');
    if (!figures.length || !window.uPlot) return;
    const all = () => figures.forEach((figure) => {
      drawn.get(figure)?.chart.destroy();
      drawn.set(figure, draw(figure));
    });
    all();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', all);
    const resized = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const own = drawn.get(target.parentElement);
        const width = Math.max(120, target.clientWidth);
        if (own && own.chart.width !== width) own.chart.setSize({ width, height: own.chart.height });
      }
    });
    figures.forEach((figure) => resized.observe(figure.querySelector('.plot')));
  }

  // Live: what comes is kept, a bounded part of it, and shown at the next frame.
  const feedLength = 50;
  const openLength = 8;
  const mostOpen = 5000;
  const drawEvery = 250; // ms

  function follow() {
    const root = byID('live');
    const own = byID('live-config');
    if (!root || !own || !window.EventSource) return;
    const config = page(own);
    const now = () => Date.now() + skew;
    const skew = config.now - Date.now();
    const clock = clockOf(config.tz, toTheSecond);
    const dateClock = clockOf(config.tz, { ...date, year: 'numeric', ...toTheSecond });
    const dayOf = clockOf(config.tz, { ...date, year: 'numeric' });
    const moment = (ms) => dayOf(ms) === dayOf(now()) ? clock(ms) : dateClock(ms);
    const view = byID('transcript') ? transcript() : overview();
    let paused = false;
    let asked = false; // for a frame
    let drawnAt = 0;

    function later() {
      if (asked || paused) return;
      asked = true;
      setTimeout(() => requestAnimationFrame(() => {
        asked = false;
        drawnAt = performance.now();
        if (!paused) view.draw();
      }), Math.max(0, drawEvery - (performance.now() - drawnAt)));
    }

    // The state, in a word for people and in an attribute for the style sheet.
    const word = byID('live-state');
    const words = {
      connecting: ['', 'Connecting…'], live: ['good', 'Live'], reconnecting: ['warn', 'Reconnecting…'], paused: ['warn', 'Paused'],
      off: ['', 'Live needs a key with the scope live'], ended: ['bad', 'The sign-in has ended: reload the page'],
    };
    let state = 'connecting';
    function become(next) {
      state = next;
      const shown = paused && (next === 'live') ? 'paused' : next;
      root.dataset.state = shown;
      word.className = `badge ${words[shown][0]}`;
      if (word.textContent !== words[shown][1]) word.textContent = words[shown][1];
    }

    const button = byID('pause');
    button.addEventListener('click', () => {
      paused = !paused;
      button.setAttribute('aria-pressed', String(paused));
      button.textContent = paused ? 'Go on' : 'Pause';
      become(state);
      later();
    });

    // An EventSource comes back by itself where a connection breaks, and gives up for good at
    // any status but 200: then a new one goes on behind the last message.
    let source = null;
    let last = '';
    let failures = 0;
    let asleep = false;
    function connect() {
      if (asleep) return;
      source?.close();
      const url = new URL(config.url, location.href);
      if (last) url.searchParams.set('last_event_id', last);
      source = new EventSource(url);
      source.addEventListener('open', () => { failures = 0; become('live'); });
      source.addEventListener('error', () => {
        if (source.readyState !== EventSource.CLOSED) {
          become('reconnecting');
          return;
        }
        source.close();
        again(url);
      });
      source.addEventListener('event', (message) => { last = message.lastEventId; view.event(JSON.parse(message.data)); later(); });
      source.addEventListener('session', (message) => { last = message.lastEventId; view.session(JSON.parse(message.data)); later(); });
    }

    function forget() {
      const url = new URL(config.url, location.href);
      url.searchParams.delete('last_event_id');
      config.url = url.pathname + url.search;
      last = '';
    }

    // again asks why, and connects anew after a while: longer each time, and not all pages at once.
    async function again(url) {
      if (state === 'live' || state === 'connecting') become('reconnecting');
      failures++;
      let wait = Math.min(60, 2 ** failures);
      try {
        const told = await fetch(url, { method: 'HEAD', cache: 'no-store' });
        if (told.status === 401) become('ended');
        else if (told.status === 403) become('off');
        else if (told.status === 400) forget(); // the log has lost what was asked for: go on from now
        else become('reconnecting');
        if (told.status === 401 || told.status === 403) wait = 60;
        wait = Math.max(wait, Math.min(300, Number(told.headers.get('Retry-After')) || 0));
      } catch {
        become('reconnecting'); // nobody answers
      }
      setTimeout(connect, 1000 * wait * (0.75 + Math.random() / 2));
    }

    function sessionURL(agent, session, started) {
      const query = new URLSearchParams(config.link || {});
      if (session === '.' || session === '..') {
        query.set('session_id', session);
        return `/ui/sessions?${query}`;
      }
      if (agent) query.set('agent_id', agent);
      if (started) query.set('started_at', started);
      return `/ui/sessions/${encodeURIComponent(session)}?${query}`;
    }

    const roleClass = (role) => role === 'user' || role === 'agent' ? role : 'other';
    function timeOf(at, show) {
      const time = make('time', '', show(Date.parse(at)));
      time.dateTime = at;
      return time;
    }
    function said(e, text) {
      const p = isolated('p', 'text', text);
      if (e.language) p.lang = e.language;
      return p;
    }
    function isolated(tag, className, text) {
      const element = make(tag, className, text);
      element.dir = 'auto';
      return element;
    }

    // What is new is told to screen readers now and then, not message by message.
    let untold = 0;
    setInterval(() => {
      if (untold && !paused && document.visibilityState === 'visible') byID('told').textContent = untold === 1 ? '1 new message' : `${whole(untold)} new messages`;
      untold = 0;
    }, 10000);

    function overview() {
      const feed = byID('feed');
      const openList = byID('open');
      const waiting = []; // messages that are not shown yet
      const arrived = []; // when those of the last minute came, by the second: [second, count]
      const open = new Map(); // conversation -> Map of started_at -> closes_at
      const changed = new Map(); // key -> session, to show
      const erased = new Set(); // conversations whose texts are not to be shown any more
      const begun = new Set(); // sessions that were counted in the chart
      let openCount = 0;
      let stale = true;

      const keyOf = (agent, session) => JSON.stringify([agent, session]);
      for (const [agent, session, started, closes] of config.open) {
        hold(keyOf(agent, session), started, closes);
      }
      const beginning = config.now;
      const initial = Number(byID('minute-count').textContent.replace(/\D/g, '')) || 0;
      const initialMore = byID('minute-count').textContent.endsWith('+');

      function hold(key, started, closes) {
        if (!open.has(key)) open.set(key, new Map());
        if (!open.get(key).has(started)) openCount++;
        open.get(key).set(started, closes);
      }
      function drop(key, started) {
        if (!open.get(key)?.delete(started)) return;
        openCount--;
        if (!open.get(key).size) open.delete(key);
      }

      function event(e) {
        if (e.event_type !== 'chat.push' || e.erased || e.position <= config.seen) return;
        const second = Math.floor(now() / 1000);
        if (arrived.length && arrived[arrived.length - 1][0] === second) arrived[arrived.length - 1][1]++;
        else arrived.push([second, 1]);
        while (arrived.length > 61) arrived.shift();
        waiting.push(e);
        if (waiting.length > feedLength) waiting.shift();
        untold++;
      }

      function session(s) {
        const key = keyOf(s.agent_id, s.session_id);
        const started = Date.parse(s.started_at);
        const closes = Date.parse(s.closes_at);
        const { after, before } = s.replaces || {};
        for (const other of [...(open.get(key)?.keys() || [])]) {
          if (other !== started && (!after || other > Date.parse(after)) && (!before || other < Date.parse(before))) {
            drop(key, other);
            changed.set(`${key}${other}`, null);
          }
        }
        if (s.erased_at) erased.add(key);
        const isOpen = closes > now();
        if (!isOpen) drop(key, started);
        else if (openCount < mostOpen || open.get(key)?.has(started)) hold(key, started, closes);
        changed.delete(`${key}${started}`);
        changed.set(`${key}${started}`, isOpen ? s : null);
        if (changed.size > 500) changed.delete(changed.keys().next().value);
        if (started > beginning && begun.size < 20000 && !begun.has(`${key}${started}`)) {
          begun.add(`${key}${started}`);
          count(started);
        }
      }

      // The chart of the last hour moves on with the minutes.
      function minutes() { return [...drawn].find(([figure]) => figure.dataset.chart === 'minutes')?.[1]; }
      function roll(c, to) {
        const starts = c.data.starts;
        while (to - starts[starts.length - 1] >= 60) {
          starts.push(starts[starts.length - 1] + 60);
          starts.shift();
          c.data.series[0].values.push(0);
          c.data.series[0].values.shift();
          c.data.until += 60;
          stale = true;
        }
      }
      function count(started) {
        const c = minutes();
        if (!c) return;
        roll(c, Math.floor(now() / 1000));
        const at = Math.floor((started / 1000 - c.data.starts[0]) / 60);
        if (at >= 0 && at < c.data.starts.length) {
          c.data.series[0].values[at] = (c.data.series[0].values[at] || 0) + 1;
          stale = true;
        }
      }

      function item(e) {
        const li = make('li', 'new');
        Object.assign(li.dataset, { position: e.position, agent: e.agent_id, session: e.session_id });
        const meta = make('p', 'meta');
        const place = isolated(e.session_id ? 'a' : 'span', 'text', e.agent_id || e.session_id);
        if (e.session_id) place.href = sessionURL(e.agent_id, e.session_id);
        meta.append(make('span', `role ${roleClass(e.role)}`, e.role || 'unknown'), place, timeOf(e.occurred_at, moment));
        const all = Array.from(e.message.slice(0, 1200));
        li.append(meta, said(e, all.length > 300 ? `${all.slice(0, 300).join('')}…` : e.message));
        return li;
      }

      function row(s) {
        const li = make('li');
        Object.assign(li.dataset, { agent: s.agent_id, session: s.session_id, started: Date.parse(s.started_at) });
        const link = isolated('a', 'text', s.user_id || s.session_id);
        link.href = sessionURL(s.agent_id, s.session_id, s.started_at);
        li.append(link, isolated('span', 'soft text', s.agent_id), make('span', 'n'), make('time'));
        return fill(li, s);
      }
      function fill(li, s) {
        li.querySelector('.n').textContent = `${whole(s.message_count)}${nbsp}${s.message_count === 1 ? 'message' : 'messages'}`;
        li.querySelector('time').replaceWith(timeOf(s.last_activity_at, clock));
        return li;
      }

      // A session that is listed changes where it stands; what is new comes on top, and what
      // has the focus stays.
      function drawOpen() {
        if (!openList) return;
        const rows = new Map([...openList.children].map((li) => [`${keyOf(li.dataset.agent, li.dataset.session)}${li.dataset.started}`, li]));
        for (const [key, s] of changed) {
          if (!s) rows.get(key)?.remove();
          else if (rows.has(key)) fill(rows.get(key), s);
        }
        for (const [key, s] of [...changed].slice(-openLength)) {
          if (s && !rows.has(key)) openList.prepend(row(s));
        }
        changed.clear();
        for (const li of [...openList.children].reverse()) {
          if (openList.children.length <= openLength) break;
          if (!li.contains(document.activeElement)) li.remove();
        }
        byID('no-open').hidden = openList.children.length > 0;
      }

      function drawFeed() {
        if (!feed) return;
        for (const li of erased.size ? [...feed.children] : []) {
          if (erased.has(keyOf(li.dataset.agent, li.dataset.session))) li.remove();
        }
        erased.clear();
        if (!waiting.length) return;
        const added = document.createDocumentFragment();
        for (const e of waiting.reverse()) added.append(item(e));
        waiting.length = 0;
        feed.prepend(added);
        while (feed.children.length > feedLength) feed.lastElementChild.remove();
        byID('no-feed').hidden = true;
      }

      function drawCounts() {
        if (!config.more) byID('open-count').textContent = openCount >= mostOpen ? `${whole(mostOpen)}+` : whole(openCount);
        const since = now() / 1000 - 60;
        while (arrived.length && arrived[0][0] < since) arrived.shift();
        const came = arrived.reduce((sum, [, n]) => sum + n, 0);
        const isYoung = now() - beginning < 60000; // what was there before still counts
        byID('minute-count').textContent = whole(came + (isYoung ? initial : 0)) + (isYoung && initialMore ? '+' : '');
      }

      setInterval(() => { // sessions close since they rest, which is no message
        for (const [key, windows] of open) {
          for (const [started, closes] of windows) {
            if (closes <= now()) {
              drop(key, started);
              changed.set(`${key}${started}`, null);
            }
          }
        }
        if (minutes()) roll(minutes(), Math.floor(now() / 1000));
        later();
      }, 1000);

      return {
        event, session,
        draw() {
          drawFeed();
          drawOpen();
          drawCounts();
          const c = minutes();
          if (stale && c) c.chart.setData([c.data.starts, c.data.series[0].values]);
          stale = false;
        },
      };
    }

    // The transcript of one session, which goes on below.
    function transcript() {
      const list = byID('transcript');
      const waiting = [];
      let changed = null;
      const shows = {
        last_activity_at: (v) => dateClock(Date.parse(v)), closes_at: (v) => dateClock(Date.parse(v)), duration_s: duration, active_s: duration,
        engagement_tier: (v) => v[0].toUpperCase() + v.slice(1),
      };
      return {
        event(e) {
          if (e.position <= config.seen || e.erased) return;
          config.seen = e.position;
          waiting.push(e);
          if (waiting.length > 500) waiting.shift();
          if (e.event_type === 'chat.push') untold++;
        },
        session(s) {
          if (Date.parse(s.started_at) !== config.started) return;
          if (s.erased_at && !('erased' in root.dataset)) location.reload(); // nothing of it is to be shown any more
          else changed = s;
        },
        draw() {
          const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 120;
          for (const e of waiting.splice(0)) {
            const isMessage = e.event_type === 'chat.push';
            const li = make('li', isMessage ? `${roleClass(e.role)} new` : `event new${e.event_type === 'agent.error' ? ' error' : ''}`);
            li.dataset.position = e.position;
            const head = make('p', isMessage ? 'meta' : '');
            if (isMessage) head.append(make('span', `role ${roleClass(e.role)}`, e.role || 'unknown'));
            else head.append(isolated('span', 'text', [e.event_type, e.error_code, e.end_reason].filter(Boolean).join(': ')), ' ');
            head.append(timeOf(e.occurred_at, clock));
            li.append(head);
            if (e.message) li.append(said(e, e.message));
            list.append(li);
          }
          if (changed) {
            for (const element of document.querySelectorAll('[data-field]')) {
              const value = changed[element.dataset.field];
              if (value === null || value === undefined) continue;
              element.textContent = (shows[element.dataset.field] || whole)(value);
              if (element.dateTime !== undefined) element.dateTime = value;
            }
            changed = null;
          }
          if (atEnd && !calm.matches) scrollTo({ top: document.documentElement.scrollHeight });
        },
      };
    }

    // A browser has few connections to one host: pages that nobody sees give theirs back.
    let nodding = 0;
    let hiddenAt = 0;
    document.addEventListener('visibilitychange', () => {
      clearTimeout(nodding);
      if (document.visibilityState === 'hidden') {
        hiddenAt = Date.now();
        nodding = setTimeout(() => { asleep = true; source?.close(); }, 60000);
      } else if (asleep) {
        asleep = false;
        if (Date.now() - hiddenAt > 300000) location.reload(); // too much has happened
        else connect();
      }
    });
    connect();
    addEventListener('pagehide', () => source.close());
    addEventListener('pageshow', (shown) => { if (shown.persisted) connect(); });
  }

  filters();
  charts();
  follow();
})();
